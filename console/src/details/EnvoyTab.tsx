import { Select } from '../shell/Act';
import { Suspense, lazy, useMemo } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { PodRow, ProxyRow, ProxyTable } from '../api/contract.gen';
import { linkTo } from '../config/links';
import { shared } from '../options';
import { DataTable } from '../pages/DataTable';
import { SearchBox } from '../pages/Filters';
import type { Column } from '../pages/sort';
import { SyncState } from '../shell/health';
import { Empty, Loading, Problem, Stale } from '../shell/states';
import { details as text } from '../text.details';
import { useOptions, useTyped } from '../useOptions';
import { Notes } from './parts';
import { useParameters } from './parameters';

const Difference = lazy(() => import('./EnvoyDifference'));
const Logging = lazy(() => import('./EnvoyLogging'));
const DEFAULTS = { pod: '', part: 'cluster', search: '', sort: '' };
const LINES = 20_000; // of JSON that are shown; the file has all

/** What the control plane gives a pod's proxy. */
export default function EnvoyTab({ pods }: { pods: PodRow[] }) {
  const [options] = useOptions();
  const [chosen, change] = useParameters(DEFAULTS);
  const [search, type] = useTyped(chosen.search, (value) => change({ search: value }, true));
  const withProxy = pods.filter((pod) => pod.synced !== null);
  const pod = withProxy.find(({ name }) => name === chosen.pod) ?? withProxy[0];
  const parameters = { namespace: pod?.namespace ?? '', pod: pod?.name ?? '' };
  const { data, error, refetch } = useApi('/api/proxy-config', parameters, options.refresh, Boolean(pod));
  if (!pod) return <Empty title={text.envoy.none} words={pods.length ? text.envoy.noneFix : text.overview.noPods} />;
  const table = data?.tables.find(({ part }) => part === chosen.part);
  return (
    <>
      <div className="sc-filters" role="search">
        {withProxy.length > 1 && (
          <Select
            label={text.logs.pod}
            value={pod.name}
            choices={withProxy.map(({ name }) => [name, name] as const)}
            onChange={(name) => change({ pod: name })}
          />
        )}
        <Select label={text.envoy.part} value={chosen.part} choices={Object.entries(text.envoy.parts)} onChange={(part) => change({ part, sort: '' })} />
        {table && <SearchBox label={text.envoy.search} value={search} onChange={type} />}
        {data && <SyncState types={data.sync} />}
      </div>
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {table && <Rows table={table} search={chosen.search} sort={chosen.sort} onSort={(sort) => change({ sort })} />}
      {data && chosen.part === 'json' && data.whole && <Whole {...parameters} />}
      {data && (
        <Suspense fallback={<Loading />}>
          {chosen.part === 'difference' && <Difference {...parameters} />}
          {chosen.part === 'logging' && <Logging {...parameters} />}
        </Suspense>
      )}
      {data && chosen.part === 'json' && !data.whole && <Empty title={text.envoy.noJson} words={text.envoy.noJsonFix} />}
    </>
  );
}

interface RowsProps {
  table: ProxyTable;
  search: string;
  sort: string;
  onSort: (sort: string) => void;
}

function Rows({ table, search, sort, onSort }: RowsProps) {
  const [query] = useSearchParams();
  const wanted = search.trim().toLowerCase();
  const rows = useMemo(
    () =>
      table.rows
        .map((row, index) => ({ ...row, index }))
        .filter(({ cells }) => cells.some((cell) => cell.toLowerCase().includes(wanted))),
    [table, wanted],
  );
  const columns = table.columns.map((title, at): Column<ProxyRow & { index: number }> => ({
    key: `${at}`,
    title,
    value: (row) => row.cells[at] ?? '',
    cell: ({ cells, origin }) =>
      origin && at === cells.length - 1 ? (
        <Link to={linkTo(origin) + shared(query)} title={origin.kind}>
          {cells[at]}
        </Link>
      ) : (
        cells[at]
      ),
  }));
  const title = text.envoy.parts[table.part] ?? table.part;
  return (
    <>
      {table.hidden > 0 && <Notes notes={[text.envoy.hidden(table.hidden)]} />}
      <p role="status" className="sc-where">
        {text.envoy.count(rows.length, table.rows.length)}
      </p>
      {rows.length > 0 ? (
        <div className="sc-card sc-scroll" tabIndex={0} role="group" aria-label={title}>
          <DataTable label={title} rows={rows} columns={columns} idOf={(row) => String(row.index)} sort={sort} onSort={onSort} />
        </div>
      ) : (
        <Empty title={text.envoy.nothing} words={search ? text.envoy.nothingFix : ''} />
      )}
    </>
  );
}

/** The configuration as JSON. */
function Whole({ namespace, pod }: { namespace: string; pod: string }) {
  const { data, error, refetch } = useApi('/api/proxy-config/json', { namespace, pod }, 0);
  const lines = useMemo(() => (data ? JSON.stringify(data, null, 2).split('\n') : []), [data]);
  const query = new URLSearchParams({ namespace, pod }).toString();
  if (!data) return error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />;
  return (
    <>
      <Notes notes={[text.envoy.given(`${pod}.${namespace}`)]} />
      <p>
        <a href={`/api/proxy-config/json?${query}`} download={`${pod}.json`}>
          {text.envoy.save}
        </a>
        {lines.length > LINES && ` ${text.envoy.cut(LINES)}`}
      </p>
      <pre className="sc-lines" tabIndex={0} role="region" aria-label={text.envoy.parts['json']}>
        {lines.slice(0, LINES).join('\n')}
      </pre>
    </>
  );
}
