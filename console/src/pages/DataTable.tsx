import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useMemo } from 'react';
import { STATUSES, type Status } from '../health';
import { StatusWords } from '../shell/health';
import { text } from '../text';
import { type Column, sorted } from './sort';

interface Props<Row> {
  label: string;
  rows: Row[];
  columns: Column<Row>[];
  idOf: (row: Row) => string;
  /** A column's key, with `-` before it for the largest first. */
  sort: string;
  onSort: (sort: string) => void;
}

/** A table that can be sorted by its columns. */
export function DataTable<Row>({ label, rows, columns, idOf, sort, onSort }: Props<Row>) {
  const ordered = useMemo(() => sorted(rows, columns, sort), [rows, columns, sort]);
  const index = columns.findIndex(({ key }) => key === sort.replace(/^-/, ''));
  const sortBy = { index: index < 0 ? undefined : index, direction: sort.startsWith('-') ? ('desc' as const) : ('asc' as const) };
  return (
    <Table aria-label={label} variant="compact">
      <Thead>
        <Tr>
          {columns.map(({ key, title, value }, columnIndex) => (
            <Th
              key={key}
              modifier="nowrap"
              sort={
                value && { sortBy, columnIndex, onSort: (_event, _index, direction) => onSort((direction === 'desc' ? '-' : '') + key) }
              }
            >
              {title}
            </Th>
          ))}
        </Tr>
      </Thead>
      <Tbody>
        {ordered.map((row) => (
          <Tr key={idOf(row)}>
            {columns.map(({ key, title, value, cell }) => (
              <Td key={key} dataLabel={title}>
                {cell ? cell(row) : value?.(row)}
              </Td>
            ))}
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

/** The column of a health, the worst first. */
export function healthColumn<Row>(of: (row: Row) => Status): Column<Row> {
  return { key: 'health', title: text.list.health, value: (row) => STATUSES.indexOf(of(row)), cell: (row) => <StatusWords status={of(row)} /> };
}
