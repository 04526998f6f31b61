import { Head } from '../shell/Head';
import type { ReactNode } from 'react';

interface Props {
  label: string;
  columns: readonly string[];
  /** A key, and a cell for each column. */
  rows: readonly (readonly [string, ...ReactNode[]])[];
}

/** A plain table; the first cell names the row. */
export function PlainTable({ label, columns, rows }: Props) {
  return (
    <div className="sc-scroll" tabIndex={0} role="group" aria-label={label}>
      <table className="sc-table" aria-label={label}>
        <Head titles={columns} />
        <tbody>
          {rows.map(([key, first, ...cells]) => (
            <tr key={key}>
              <th scope="row">{first}</th>
              {cells.map((cell, index) => (
                <td key={index} className={typeof cell === 'number' ? 'sc-number' : undefined}>
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Names with their values; those without are left out. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="sc-facts">
      {facts
        .filter(([, value]) => value !== '' && value !== null && value !== undefined)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

export function Labels({ labels }: { labels: Record<string, string> }) {
  return (
    <ul className="sc-labels">
      {Object.entries(labels).map(([key, value]) => (
        <li key={key}>{value ? `${key}=${value}` : key}</li>
      ))}
    </ul>
  );
}
