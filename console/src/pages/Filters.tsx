/** What stands above a list: its search box, its filters, and how many rows they leave. */
import { Act, Select } from '../shell/Act';
import { SearchInput } from '@patternfly/react-core/dist/dynamic/components/SearchInput';
import type { ReactNode } from 'react';
import { STATUSES } from '../health';
import type { Options } from '../options';
import { Empty, Loading, Problem, Stale } from '../shell/states';
import { text } from '../text';
import { useOptions, useTyped } from '../useOptions';
import { DataTable } from './DataTable';
import type { Column } from './sort';

/** Options of the filters, as they are without any. */
export const NO_FILTER: Partial<Options> = { q: '', health: '', sidecar: '', kind: '', accepted: '' };

/** The filter by health of a list. */
export function HealthSelect() {
  const [options, change] = useOptions();
  const choices = [['', text.list.anyHealth] as const, ...STATUSES.map((status) => [status, text.status[status]] as const)];
  return <Select label={text.list.health} value={options.health} choices={choices} onChange={(health) => change({ health })} />;
}

/** A search box, which `/` goes to. */
export function SearchBox({ label, hint = label, value, onChange }: { label: string; hint?: string; value: string; onChange: (typed: string) => void }) {
  return (
    <span data-search>
      <SearchInput aria-label={label} placeholder={hint} value={value} onChange={(_, typed) => onChange(typed)} onClear={() => onChange('')} />
    </span>
  );
}

interface ListProps<Row> {
  title: string;
  answer: { data: Row[] | undefined; error: Error | null; refetch: () => unknown };
  /** Whether the filters let a row pass; its name is looked at here. */
  passes: (row: Row) => boolean;
  columns: Column<Row>[];
  idOf: (row: Row) => string;
  /** The column that it is sorted by at first. */
  first: string;
  none: string;
  filters: ReactNode;
}

/** A list page: filters, the table, and why it is empty. */
export function ListPage<Row extends { name: string }>({ title, answer, passes, columns, idOf, first, none, filters }: ListProps<Row>) {
  const [options, change] = useOptions();
  const { data, error } = answer;
  const wanted = options.q.trim().toLowerCase();
  const rows = (data ?? []).filter((row) => row.name.toLowerCase().includes(wanted) && passes(row));
  const [typed, type] = useTyped(options.q, (q) => change({ q }, true));
  return (
    <div className="sc-page">
      <h1>{title}</h1>
      <div className="sc-filters" role="search">
        <SearchBox label={text.list.search} value={typed} onChange={type} />
        {filters}
        {data && <span role="status">{text.list.count(rows.length, data.length)}</span>}
      </div>
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void answer.refetch()} /> : <Loading />)}
      {data && !data.length && <Empty title={text.list.nothing} words={none} />}
      {data && data.length > 0 && !rows.length && (
        <Empty title={text.list.filtered} words="">
          <Act words={text.list.clear} onClick={() => change(NO_FILTER)} />
        </Empty>
      )}
      {rows.length > 0 && (
        <div className="sc-card sc-scroll">
          <DataTable label={title} rows={rows} columns={columns} idOf={idOf} sort={options.sort || first} onSort={(sort) => change({ sort })} />
        </div>
      )}
    </div>
  );
}
