import { Label } from '@patternfly/react-core/dist/dynamic/components/Label';
import { Link, useSearchParams } from 'react-router';
import { scope, useApi } from '../api/client';
import type { Insight, Overview } from '../api/contract.gen';
import { Facts, PlainTable } from '../details/Table';
import { duration, moment, percent, rate, utc } from '../format';
import { shared } from '../options';
import { Loading, Problem, Stale } from '../shell/states';
import { text } from '../text';
import { useOptions } from '../useOptions';
import { Card, Note } from './Card';
import { Donut } from './Donut';

export default function OverviewPage() {
  const [options] = useOptions();
  const [query] = useSearchParams();
  const { data, error, refetch } = useApi('/api/overview', scope(options), options.refresh);
  if (!data) return error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />;
  const nothing = text.overview.noTraffic(data.window);
  return (
    <div className="sc-page">
      <h1>{text.overview.title}</h1>
      <Stale error={error} />
      <div className="sc-cards">
        <Card title={text.overview.applications}>
          {data.applications.length ? <Donut counts={data.applications} /> : <Note>{text.overview.noApplications}</Note>}
          <Link to={`/applications${shared(query, { sort: 'health' })}`}>{text.shell.applications}</Link>
        </Card>
        <Card title={text.overview.inbound}>
          <p className="sc-big">{rate(data.inboundRate)}</p>
          {data.inboundRate <= 0 && <Note>{nothing}</Note>}
          <Link to={`/graph${shared(query)}`}>{text.shell.graph}</Link>
        </Card>
        <Configuration overview={data} />
        <ControlPlane overview={data} />
        <Insights rows={data.errorRates} value={percent} title={text.overview.share} label={text.overview.errors} none={text.overview.noErrors(data.window)} />
        <Insights rows={data.slowest} value={duration} title={text.overview.p95} label={text.overview.slowest} none={text.overview.noTimes(data.window)} />
        <Insights rows={data.busiest} value={rate} title={text.overview.rate} label={text.overview.busiest} none={nothing} />
        {data.certificates.length > 0 && (
          <Card title={text.overview.certificates}>
            <ul className="sc-plain">
              {data.certificates.map(({ name, ends }) => (
                <li key={name} title={utc(ends)}>
                  {name} <span className="sc-where">{text.overview.ends(moment(ends))}</span>
                </li>
              ))}
            </ul>
          </Card>
        )}
      </div>
    </div>
  );
}

interface InsightsProps {
  rows: Insight[];
  value: (value: number) => string;
  title: string;
  label: string;
  none: string;
}

function Insights({ rows, value, title, label, none }: InsightsProps) {
  const [query] = useSearchParams();
  return (
    <Card title={label}>
      {!rows.length && <Note>{none}</Note>}
      {rows.length > 0 && <PlainTable
      label={label}
      columns={[text.overview.service, title]}
      rows={rows.map((row) => [
        `${row.namespace}/${row.name}`,
        <>
          <Link
            to={`/graph${shared(query, { type: 'service', find: `service = ${row.name} and ns = ${row.namespace}` })}`}
            title={text.overview.inGraph(row.name)}
          >
            {row.name}
          </Link>{' '}
          <span className="sc-where">{row.namespace}</span>
        </>,
        value(row.value),
      ])}
      />}
    </Card>
  );
}

function Configuration({ overview: { config, configCount } }: { overview: Overview }) {
  const [query] = useSearchParams();
  return (
    <Card title={text.overview.config}>
      {!config.length && <Note>{configCount ? text.overview.accepted(configCount) : text.overview.noConfig}</Note>}
      {config.length > 0 && (
        <div>
          <Label status="danger">{text.overview.refused(config.length, configCount)}</Label>
        </div>
      )}
      <ul className="sc-plain">
        {config.slice(0, 5).map((one) => (
          <li key={`${one.kind}/${one.namespace}/${one.name}`}>
            {one.kind} {one.name} <span className="sc-where">{one.namespace}</span>
            <br />
            <span>{one.message || one.reason}</span>
          </li>
        ))}
      </ul>
      <Link to={`/config${shared(query)}`}>{text.shell.config}</Link>
    </Card>
  );
}

function ControlPlane({ overview: { controlPlane } }: { overview: Overview }) {
  const facts: [string, string][] = [
    [text.overview.version, controlPlane.version],
    [text.overview.proxies, controlPlane.version && String(controlPlane.proxies)],
    [text.overview.push, controlPlane.pushMs === null ? '' : duration(controlPlane.pushMs)],
  ];
  return (
    <Card title={text.overview.controlPlane}>
      {!controlPlane.version && <Label status="danger">{text.shell.controlPlaneDown}</Label>}
      <Facts facts={facts} />
      {controlPlane.stale.length ? (
        <div>
          <Label status="warning">{text.overview.stale}</Label>
          <ul className="sc-plain">
            {controlPlane.stale.map((name) => (
              <li key={name}>{name}</li>
            ))}
          </ul>
          <Note>{text.overview.staleFix}</Note>
        </div>
      ) : (
        <Note>{controlPlane.version ? text.overview.synced : text.overview.downFix}</Note>
      )}
    </Card>
  );
}
