import { useEffect } from 'react';
import { Link, useParams, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { Item } from '../api/contract.gen';
import { percent, rate } from '../format';
import { shared } from '../options';
import { Card, Note } from '../pages/Card';
import { StatusMark, StatusWords } from '../shell/health';
import { Loading, Problem, Stale } from '../shell/states';
import { text as common } from '../text';
import { details as text } from '../text.details';
import { useOptions } from '../useOptions';
import { Crumbs } from './Crumbs';
import { Facts, Labels, PlainTable } from './Table';
import { Events, Notes, ObjectLink, When } from './parts';
import { type SubjectKind, pathOf } from './subject';

/** What is in a namespace. */
export default function NamespacePage() {
  const { name = '' } = useParams();
  const [options] = useOptions();
  const [query] = useSearchParams();
  const { data, error, refetch } = useApi('/api/details/namespace', { name, window: options.window }, options.refresh);
  useEffect(() => {
    document.title = `${name} · ${common.product}`;
  }, [name]);
  const head = (
    <>
      <Crumbs steps={[[text.namespaces, `/namespaces${shared(query)}`]]} here={name} />
      <h1 className="sc-status-words">
        <StatusMark status={data?.health.status ?? 'NA'} /> {name} <span className="sc-where">{text.namespace}</span>
      </h1>
    </>
  );
  if (!data)
    return (
      <div className="sc-page">
        {head}
        {error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />}
      </div>
    );
  return (
    <div className="sc-page">
      {head}
      <Stale error={error} />
      <Notes notes={data.notes} />
      <div className="sc-cards">
        <Card title={text.overview.about}>
          <Facts
            facts={[
              [text.namespaceList.kind, data.controlPlane ? text.namespaceList.controlPlane : text.namespaceList.dataPlane],
              [text.namespaceList.injection, data.injected ? text.namespaceList.injected : text.namespaceList.notInjected],
              [text.overview.created, data.created && <When at={data.created} />],
              [text.overview.labels, Object.keys(data.labels).length ? <Labels labels={data.labels} /> : ''],
            ]}
          />
          {!data.injected && !data.controlPlane && <Note>{text.namespacePage.inject(name)}</Note>}
          <Link to={`/graph${shared(query, { namespaces: [name] })}`}>{text.inGraph}</Link>
        </Card>
        <Items kind="app" items={data.apps} />
        <Items kind="workload" items={data.workloads} />
        <Items kind="service" items={data.services} />
        <Card title={text.namespacePage.config} wide>
          {data.config.length ? (
            <PlainTable
              label={text.namespacePage.config}
              columns={[text.overview.object, common.list.accepted, common.list.findings, common.list.message]}
              rows={data.config.map((one) => [
                `${one.kind}/${one.name}`,
                <ObjectLink object={{ ...one, note: '' }} />,
                <span className="sc-status-words">
                  <StatusMark status={one.accepted ? 'Healthy' : 'Failure'} />{' '}
                  {one.accepted ? common.list.accepted : common.list.notAccepted}
                </span>,
                one.errors || one.warnings ? common.list.findingCounts(one.errors, one.warnings) : common.list.noFindings,
                one.message,
              ])}
            />
          ) : (
            <Note>{text.namespacePage.empty}</Note>
          )}
        </Card>
        <Card title={text.overview.events} wide>
          <Events events={data.events} none={text.overview.noNamespaceEvents} />
        </Card>
      </div>
    </div>
  );
}

function Items({ kind, items }: { kind: SubjectKind; items: Item[] }) {
  const [query] = useSearchParams();
  return (
    <Card title={text.lists[kind]}>
      {items.length ? (
        <PlainTable
          label={text.lists[kind]}
          columns={[common.list.name, common.list.health, common.list.rate, common.list.errors]}
          rows={items.map((one) => [
            one.name,
            <Link to={pathOf({ kind, namespace: one.namespace, name: one.name }) + shared(query)}>{one.name}</Link>,
            <StatusWords status={one.health.status} />,
            rate(one.rate),
            percent(one.errorShare),
          ])}
        />
      ) : (
        <Note>{text.namespacePage.empty}</Note>
      )}
    </Card>
  );
}
