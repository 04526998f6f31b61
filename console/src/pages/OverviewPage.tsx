import { Label } from '@patternfly/react-core/dist/dynamic/components/Label';
import { Link, useSearchParams } from 'react-router';
import { scope, useApi } from '../api/client';
import type { Insight, Overview } from '../api/contract.gen';
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
        <Card title={text.overview.errors}>
          <Insights
            rows={data.errorRates}
            value={percent}
            title={text.overview.share}
            label={text.overview.errors}
            none={text.overview.noErrors(data.window)}
          />
        </Card>
        <Card title={text.overview.slowest}>
          <Insights
            rows={data.slowest}
            value={duration}
            title={text.overview.p95}
            label={text.overview.slowest}
            none={text.overview.noTimes(data.window)}
          />
        </Card>
        <Card title={text.overview.busiest}>
          <Insights rows={data.busiest} value={rate} title={text.overview.rate} label={text.overview.busiest} none={nothing} />
        </Card>
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
  if (!rows.length) return <Note>{none}</Note>;
  return (
    <table className="sc-table" aria-label={label}>
      <thead>
        <tr>
          <th scope="col">{text.overview.service}</th>
          <th scope="col" className="sc-number">
            {title}
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={`${row.namespace}/${row.name}`}>
            <th scope="row">
              <Link
                to={`/graph${shared(query, { type: 'service', find: `service = ${row.name} and ns = ${row.namespace}` })}`}
                title={text.overview.inGraph(row.name)}
              >
                {row.name}
              </Link>{' '}
              <span className="sc-where">{row.namespace}</span>
            </th>
            <td className="sc-number">{value(row.value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
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
  const facts = [
    [text.overview.version, controlPlane.version],
    [text.overview.proxies, controlPlane.version && String(controlPlane.proxies)],
    [text.overview.push, controlPlane.pushMs === null ? '' : duration(controlPlane.pushMs)],
  ].filter(([, value]) => value);
  return (
    <Card title={text.overview.controlPlane}>
      {!controlPlane.version && <Label status="danger">{text.shell.controlPlaneDown}</Label>}
      <dl className="sc-facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
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
