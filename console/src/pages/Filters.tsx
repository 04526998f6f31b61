/** What stands above a list: its search box, its filters, and how many rows they leave. */
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { FormSelect, FormSelectOption } from '@patternfly/react-core/dist/dynamic/components/FormSelect';
import { SearchInput } from '@patternfly/react-core/dist/dynamic/components/SearchInput';
import type { ReactNode } from 'react';
import type { Options } from '../options';
import { Empty, Loading, Problem, Stale } from '../shell/states';
import { text } from '../text';
import { type Change, useTyped } from '../useOptions';

/** Options of the filters, as they are without any. */
export const NO_FILTER: Partial<Options> = { q: '', health: '', sidecar: '', kind: '', accepted: '' };

interface SelectProps {
  label: string;
  value: string;
  /** Value and words; the first is no filter. */
  choices: readonly (readonly [string, string])[];
  onChange: (value: string) => void;
}

export function Select({ label, value, choices, onChange }: SelectProps) {
  return (
    <FormSelect aria-label={label} value={value} onChange={(_, chosen) => onChange(chosen)}>
      {choices.map(([key, words]) => (
        <FormSelectOption key={key} value={key} label={words} />
      ))}
    </FormSelect>
  );
}

interface ListProps<Row> {
  title: string;
  answer: { data: Row[] | undefined; error: Error | null; refetch: () => unknown };
  rows: Row[];
  options: Options;
  change: Change;
  none: string;
  filters: ReactNode;
  children: ReactNode;
}

/** A list page: filters, the table, and why it is empty. */
export function ListPage<Row>({ title, answer, rows, options, change, none, filters, children }: ListProps<Row>) {
  const { data, error } = answer;
  const [typed, type] = useTyped(options.q, (q) => change({ q }, true));
  return (
    <div className="sc-page">
      <h1>{title}</h1>
      <div className="sc-filters" role="search">
        <span data-search>
          <SearchInput
            aria-label={text.list.search}
            placeholder={text.list.search}
            value={typed}
            onChange={(_, q) => type(q)}
            onClear={() => type('')}
          />
        </span>
        {filters}
        {data && <span role="status">{text.list.count(rows.length, data.length)}</span>}
      </div>
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void answer.refetch()} /> : <Loading />)}
      {data && !data.length && <Empty title={text.list.nothing} words={none} />}
      {data && data.length > 0 && !rows.length && (
        <Empty title={text.list.filtered} words="">
          <Button variant="link" onClick={() => change(NO_FILTER)}>
            {text.list.clear}
          </Button>
        </Empty>
      )}
      {rows.length > 0 && <div className="sc-card sc-scroll">{children}</div>}
    </div>
  );
}
