import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Link, useSearchParams } from 'react-router';
import type { Details, PodRow } from '../api/contract.gen';
import { duration, percent, rate } from '../format';
import { shared } from '../options';
import { Card, Note } from '../pages/Card';
import { StatusMark, StatusWords, Why } from '../shell/health';
import { details as text } from '../text.details';
import { Facts, Labels, PlainTable } from './Table';
import { Events, Notes, ObjectLink, When } from './parts';
import { graphOf, namespacePath, pathOf } from './subject';

const words = text.overview;

export default function OverviewTab({ data }: { data: Details }) {
  const [query] = useSearchParams();
  return (
    <>
      <Notes notes={data.notes} />
      {data.warnings.length > 0 && (
        <Alert isInline variant="warning" title={words.warnings} component="h2">
          <ul>
            {data.warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        </Alert>
      )}
      <div className="sc-cards">
        <Card title={words.health}>
          <StatusWords status={data.health.status} />
          <Why health={data.health} />
          <Facts
            facts={[
              [words.rate, rate(data.rate)],
              [words.errors, percent(data.errorShare)],
              [words.p95, data.p95 === null ? '' : duration(data.p95)],
            ]}
          />
          <Link to={`/graph${shared(query, graphOf(data))}`}>{text.inGraph}</Link>
        </Card>
        <Card title={words.about}>
          <Facts
            facts={[
              [words.type, data.type],
              [words.namespace, <Link to={namespacePath(data.namespace) + shared(query)}>{data.namespace}</Link>],
              [words.created, data.created && <When at={data.created} />],
              [words.versions, data.versions.join(', ')],
              [words.labels, Object.keys(data.labels).length ? <Labels labels={data.labels} /> : ''],
              [words.selector, Object.keys(data.selector).length ? <Labels labels={data.selector} /> : ''],
            ]}
          />
          {data.kind === 'service' && <Link to={`${pathOf(data)}/traffic${shared(query)}`}>{words.traffic}</Link>}
          {data.related.length > 0 && (
            <div>
              <h3 className="sc-label">{words.related}</h3>
              <ul className="sc-plain">
                {data.related.map((one) => (
                  <li key={`${one.kind}/${one.name}`}>
                    {text.kinds[one.kind]} <Link to={pathOf(one) + shared(query)}>{one.name}</Link>
                  </li>
                ))}
              </ul>
            </div>
          )}
        </Card>
        {data.kind === 'service' && <Ports data={data} />}
        {data.kind !== 'service' && (
          <Card title={words.mtls}>
            {data.mutualTls.length ? (
              <ul className="sc-plain">
                {data.mutualTls.map(({ port, mode, source }) => (
                  <li key={`${port}/${mode}/${source}`}>
                    {port || words.allPorts}: {mode} <span className="sc-where">{source || words.byDefault}</span>
                  </li>
                ))}
              </ul>
            ) : (
              <Note>{words.noMtls}</Note>
            )}
          </Card>
        )}
        <Card title={words.pods} wide>
          {data.pods.length ? <Pods pods={data.pods} /> : <Note>{data.kind === 'service' ? words.noPodsService : words.noPods}</Note>}
        </Card>
        <Card title={words.objects} wide>
          {data.objects.length ? (
            <PlainTable
              label={words.objects}
              columns={[words.object, words.effect]}
              rows={data.objects.map((one) => [
                `${one.kind}/${one.namespace}/${one.name}`,
                <ObjectLink object={one} />,
                <>
                  {!one.accepted && (
                    <span className="sc-status-words">
                      <StatusMark status="Failure" /> {words.refused}{' '}
                    </span>
                  )}
                  {one.note}
                </>,
              ])}
            />
          ) : (
            <Note>{words.noObjects}</Note>
          )}
        </Card>
        <Card title={words.events} wide>
          <Events events={data.events} none={words.noEvents} />
        </Card>
      </div>
    </>
  );
}

function Pods({ pods }: { pods: PodRow[] }) {
  return (
    <PlainTable
      label={words.pods}
      columns={[words.pod, words.ready, words.containers, words.restarts, words.proxy, words.node, words.address]}
      rows={pods.map((pod) => [
        pod.name,
        pod.name,
        <>
          <span className="sc-status-words">
            <StatusMark status={pod.ready ? 'Healthy' : 'NotReady'} /> {pod.phase}
          </span>
          {pod.reason && <div className="sc-where">{pod.reason}</div>}
        </>,
        pod.containers,
        pod.restarts,
        <span className="sc-status-words">
          {pod.synced !== null && <StatusMark status={pod.synced ? 'Healthy' : 'Degraded'} />}
          {pod.synced === null ? words.noProxy : pod.synced ? words.synced : words.notSynced}
        </span>,
        pod.node,
        pod.ip,
      ])}
    />
  );
}

function Ports({ data }: { data: Details }) {
  return (
    <>
      <Card title={words.ports}>
        <PlainTable
          label={words.ports}
          columns={[words.port, words.protocol, words.target, words.clients]}
          rows={data.ports.map((port) => [
            `${port.number}`,
            `${port.number}${port.name ? ` ${port.name}` : ''}`,
            port.protocol,
            port.target,
            <ul className="sc-plain">
              {port.clients.map((client) => (
                <li key={client}>{client}</li>
              ))}
            </ul>,
          ])}
        />
      </Card>
      <Card title={words.endpoints}>
        {data.endpoints.length ? (
          <PlainTable
            label={words.endpoints}
            columns={[words.address, words.pod, words.ready]}
            rows={data.endpoints.map((one) => [one.address, one.address, one.pod, one.ready ? words.yes : words.no])}
          />
        ) : (
          <Note>{words.noEndpoints}</Note>
        )}
      </Card>
    </>
  );
}
