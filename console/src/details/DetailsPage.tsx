import { Suspense, lazy, useEffect } from 'react';
import { Link, useParams, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import { shared } from '../options';
import { StatusMark } from '../shell/health';
import { Loading, Problem, Stale } from '../shell/states';
import { text as common } from '../text';
import { details as text } from '../text.details';
import { useOptions } from '../useOptions';
import { Crumbs } from './Crumbs';
import OverviewTab from './OverviewTab';
import { type SubjectKind, folderOf, namespacePath, pathOf, tabOf, tabsOf } from './subject';

const EnvoyTab = lazy(() => import('./EnvoyTab'));
const LogsTab = lazy(() => import('./LogsTab'));
const MetricsTab = lazy(() => import('./MetricsTab'));
const RuntimeTab = lazy(() => import('./RuntimeTab'));
const TracesTab = lazy(() => import('./TracesTab'));

/** A workload, a service or an application: its head and its tabs, of which the URL names one. */
export default function DetailsPage({ kind }: { kind: SubjectKind }) {
  const { namespace = '', name = '' } = useParams();
  const [options] = useOptions();
  const [query] = useSearchParams();
  const tab = tabOf(kind, query.get('tab') ?? '');
  const subject = { kind, namespace, name };
  const { data, error, refetch } = useApi('/api/details', { ...subject, window: options.window }, options.refresh);
  const runtimes = useApi('/api/runtimes', { ...subject, window: options.window }, tab === 'runtime' ? options.refresh : 0, kind !== 'service');
  const tabs = tabsOf(kind).filter((one) => one !== 'runtime' || one === tab || runtimes.data?.runtimes.length);
  useEffect(() => {
    document.title = `${name} · ${common.product}`;
  }, [name]);
  return (
    <div className="sc-page">
      <Crumbs
        steps={[
          [text.lists[kind], folderOf(kind) + shared(query)],
          [namespace, namespacePath(namespace) + shared(query)],
        ]}
        here={name}
      />
      <h1 className="sc-status-words">
        <StatusMark status={data?.health.status ?? 'NA'} /> {name} <span className="sc-where">{text.kinds[kind]}</span>
      </h1>
      <nav className="sc-tabs" aria-label={text.tabs}>
        {tabs.map((one) => (
          <Link
            key={one}
            to={`${pathOf(subject)}${withTab(shared(query), one, tabsOf(kind)[0] ?? '')}`}
            aria-current={one === tab ? 'page' : undefined}
          >
            {text.tab[one]}
          </Link>
        ))}
      </nav>
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {data && (
        <Suspense fallback={<Loading />}>
          {tab === 'overview' && <OverviewTab data={data} />}
          {(tab === 'inbound' || tab === 'outbound') && <MetricsTab key={tab} subject={subject} direction={tab} />}
          {tab === 'logs' && <LogsTab subject={subject} pods={data.pods.map((pod) => pod.name)} />}
          {tab === 'traces' && <TracesTab subject={subject} />}
          {tab === 'runtime' && (runtimes.error ? <Problem error={runtimes.error} retry={() => void runtimes.refetch()} /> : <RuntimeTab data={runtimes.data} window={options.window} />)}
          {tab === 'envoy' && <EnvoyTab pods={data.pods} />}
        </Suspense>
      )}
    </div>
  );
}

function withTab(query: string, tab: string, first: string): string {
  if (tab === first) return query;
  return `${query || '?'}${query ? '&' : ''}tab=${tab}`;
}
