/** The mesh itself: its parts, its proxies, how its last changes went, its certificates and options. */
import { Card } from './Card';
import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Link, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { Mesh, Proxy } from '../api/contract.gen';
import { PlainTable } from '../details/Table';
import { When } from '../details/parts';
import { duration, moment, utc } from '../format';
import { shared } from '../options';
import { StatusWords, SyncState } from '../shell/health';
import { Loading, Problem, Stale } from '../shell/states';
import { text } from '../text';
import { useOptions } from '../useOptions';
import { DataTable } from './DataTable';
import type { Column } from './sort';

const words = text.mesh;

const COLUMNS: Column<Proxy>[] = [
  { key: 'name', title: words.name, value: (proxy) => proxy.name },
  { key: 'namespace', title: words.namespace, value: (proxy) => proxy.namespace },
  {
    key: 'sync',
    title: words.sync,
    value: (proxy) => worst(proxy),
    cell: (proxy) => (
      <>
        <SyncState types={proxy.types} errors={proxy.errors} />
        {Object.entries(proxy.errors).map(([type, error]) => (
          <div key={type} className="sc-error">
            {type}: {error}
          </div>
        ))}
      </>
    ),
  },
  { key: 'version', title: words.version, value: (proxy) => proxy.version },
  {
    key: 'connected',
    title: words.connected,
    value: (proxy) => proxy.connected,
    cell: (proxy) => <span title={utc(proxy.connected)}>{moment(proxy.connected)}</span>,
  },
];

/** Proxies that refused something first, then those that wait. */
function worst({ types }: Proxy): number {
  const states = Object.values(types);
  return states.includes('ERROR') ? 0 : states.includes('STALE') ? 1 : 2;
}

export default function MeshPage() {
  const [options, change] = useOptions();
  const answer = useApi('/api/mesh', {}, options.refresh);
  const { data, error } = answer;
  if (!data) return error ? <Problem error={error} retry={() => void answer.refetch()} /> : <Loading />;
  return (
    <div className="sc-page">
      <h1>{text.shell.mesh}</h1>
      <Stale error={error} />
      {data.certificateProblems.map((problem) => (
        <Alert key={problem} isInline variant="warning" title={problem} />
      ))}
      <Topology mesh={data} />
      <div className="sc-cards">
        <Changes mesh={data} />
        <Card title={words.certificates}>
          <ul className="sc-plain">
            {data.certificates.map(({ name, ends }) => (
              <li key={name}>
                {name}: <span title={utc(ends)}>{text.overview.ends(moment(ends))}</span>
              </li>
            ))}
          </ul>
        </Card>
      </div>
      <section className="sc-card sc-scroll">
        <h2>{words.proxies}</h2>
        {data.proxies.length === 0 ? (
          <p>{words.noProxies}</p>
        ) : (
          <DataTable
            label={words.proxies}
            rows={data.proxies}
            columns={COLUMNS}
            idOf={({ name, namespace }) => `${name}.${namespace}`}
            sort={options.sort || 'sync'}
            onSort={(sort) => change({ sort })}
          />
        )}
      </section>
      <Card title={words.options}>
        {data.options ? (
          <pre className="sc-options-text" tabIndex={0} aria-label={words.options}>
            {data.options}
          </pre>
        ) : (
          <p>{words.noOptions}</p>
        )}
      </Card>
    </div>
  );
}

/** Columns of parts, from what decides to what is told. */
function Topology({ mesh }: { mesh: Mesh }) {
  const [query] = useSearchParams();
  return (
    <section className="sc-components" aria-label={words.topology}>
      {Object.entries(words.kinds).map(([kind, title]) => {
        const parts = mesh.components.filter((part) => part.kind === kind);
        return (
          <div key={kind} className="sc-component">
            <h2>{title}</h2>
            {parts.length === 0 && <p className="sc-where">{words.none}</p>}
            {parts.map((part) => (
              <div key={`${part.namespace}/${part.name}`} className="sc-card">
                <strong>
                  {kind === 'dataPlane' ? (
                    <Link to={`/graph${shared(query, { namespaces: [part.name] })}`}>{part.name}</Link>
                  ) : (
                    part.name
                  )}
                </strong>
                <StatusWords status={part.status} />
                <span className="sc-where">{part.detail}</span>
              </div>
            ))}
          </div>
        );
      })}
    </section>
  );
}

function Changes({ mesh }: { mesh: Mesh }) {
  return (
    <Card title={words.changes} wide>
      {mesh.changes.length === 0 && <p>{words.noChanges}</p>}
      {mesh.pushMs !== null && <p>{words.push(duration(mesh.pushMs))}</p>}
      {mesh.changes.length > 0 && (
        <PlainTable
          label={words.changes}
          columns={[words.when, words.object, words.computed, words.last, words.answered]}
          rows={mesh.changes.map((one) => [
            String(one.received),
            <When at={one.received} />,
            one.objects.slice(0, 3).join(', ') + (one.objects.length > 3 ? ' …' : ''),
            duration(one.computedMs),
            one.lastMs === null ? '–' : duration(one.lastMs),
            <>
              {one.proxies}
              {one.refused > 0 && <span className="sc-error"> {words.refused(one.refused)}</span>}
              {one.waiting > 0 && <span> {words.waiting(one.waiting)}</span>}
            </>,
          ])}
        />
      )}
    </Card>
  );
}
