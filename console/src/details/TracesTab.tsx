import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Fragment, useState } from 'react';
import { useApi } from '../api/client';
import type { Span, TraceRow } from '../api/contract.gen';
import { clock, duration, utc } from '../format';
import { Select } from '../pages/Filters';
import { Head } from '../shell/Head';
import { StatusMark } from '../shell/health';
import { Empty, Loading, Problem, Stale } from '../shell/states';
import { details as text } from '../text.details';
import { useOptions } from '../useOptions';
import { Facts, PlainTable } from './Table';
import { Notes, When } from './parts';
import { useParameters } from './parameters';
import type { Subject } from './subject';
import { bar, scatter } from './traceView';

const DEFAULTS = { limit: '100', errors: 'false', trace: '' };
const LIMITS = ['20', '100', '500'];

/** Traces that a subject takes part in: when, how long, and which failed; one of them span by span. */
export default function TracesTab({ subject }: { subject: Subject }) {
  const [options] = useOptions();
  const [chosen, change] = useParameters(DEFAULTS);
  const errors = chosen.errors === 'true';
  const limit = LIMITS.includes(chosen.limit) ? chosen.limit : DEFAULTS.limit;
  const parameters = { ...subject, window: options.window, limit, errors };
  const { data, error, refetch } = useApi('/api/traces', parameters, options.refresh);
  return (
    <>
      <div className="sc-filters">
        <Select
          label={text.traces.limit}
          value={limit}
          choices={LIMITS.map((count) => [count, text.traces.most(count)] as const)}
          onChange={(value) => change({ limit: value })}
        />
        <label className="sc-check">
          <input type="checkbox" checked={errors} onChange={() => change({ errors: String(!errors) })} />
          {text.traces.errorsOnly}
        </label>
        {data && <span role="status">{text.traces.count(data.traces.length)}</span>}
      </div>
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {data && data.hidden > 0 && <Notes notes={[text.traces.hidden(data.hidden)]} />}
      {data && !data.traces.length && (
        <Empty title={errors ? text.traces.noErrors(options.window) : text.traces.none(options.window)} words={text.traces.noneFix} />
      )}
      {data && data.traces.length > 0 && (
        <div className="sc-card">
          <Scatter traces={data.traces} selected={chosen.trace} onSelect={(trace) => change({ trace })} />
        </div>
      )}
      {chosen.trace && <OneTrace id={chosen.trace} onClose={() => change({ trace: '' })} />}
      {data && data.traces.length > 0 && (
        <div className="sc-card">
          <PlainTable
            label={text.tab['traces'] ?? ''}
            columns={(['start', 'operation', 'duration', 'spans', 'errors', 'services'] as const).map((name) => text.traces[name])}
            rows={data.traces.map((trace) => [
              trace.id,
              <span title={utc(trace.start)}>{clock(trace.start)}</span>,
              <button
                type="button"
                className="sc-link"
                aria-pressed={trace.id === chosen.trace}
                onClick={() => change({ trace: trace.id })}
              >
                {trace.operation}
              </button>,
              duration(trace.duration),
              trace.spans,
              <ErrorCount count={trace.errors} />,
              trace.services.join(', '),
            ])}
          />
        </div>
      )}
    </>
  );
}

function ErrorCount({ count }: { count: number }) {
  return (
    <span className="sc-status-words">
      <StatusMark status={count ? 'Failure' : 'Healthy'} /> {count}
    </span>
  );
}

const [WIDTH, HEIGHT, LEFT, BELOW] = [900, 180, 60, 22];

/** Time against duration. The table below has the same for those who do not point. */
function Scatter({ traces, selected, onSelect }: { traces: TraceRow[]; selected: string; onSelect: (id: string) => void }) {
  const { points, from, to, longest } = scatter(traces);
  const bad = traces.filter((trace) => trace.errors).length;
  const [wide, high] = [WIDTH - LEFT - 12, HEIGHT - BELOW - 10];
  return (
    <svg
      className="sc-scatter"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={text.traces.scatter(traces.length, bad, duration(longest))}
    >
      {[0, 0.5, 1].map((part) => (
        <g key={part}>
          <path d={`M${LEFT} ${HEIGHT - BELOW - part * high}H${WIDTH}`} className="sc-grid" />
          <text x={LEFT - 6} y={HEIGHT - BELOW - part * high + 4} textAnchor="end">
            {duration(longest * part)}
          </text>
        </g>
      ))}
      <text x={LEFT} y={HEIGHT - 5}>
        {clock(from)}
      </text>
      <text x={WIDTH} y={HEIGHT - 5} textAnchor="end">
        {clock(to)}
      </text>
      {points.map(({ trace, x, y }) => (
        <circle
          key={trace.id}
          className={`${trace.errors ? 'sc-failure' : 'sc-healthy'}${trace.id === selected ? ' sc-chosen' : ''}`}
          cx={LEFT + 6 + x * wide}
          cy={HEIGHT - BELOW - y * high}
          r={Math.min(9, 3 + trace.spans / 5)}
          onClick={() => onSelect(trace.id)}
        >
          <title>{`${trace.operation} ${duration(trace.duration)}`}</title>
        </circle>
      ))}
    </svg>
  );
}

function OneTrace({ id, onClose }: { id: string; onClose: () => void }) {
  const { data, error, refetch } = useApi('/api/traces/spans', { id }, 0);
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const toggle = (index: number): void =>
    setOpen((before) => (before.has(index) ? new Set([...before].filter((one) => one !== index)) : new Set([...before, index])));
  return (
    <section className="sc-card" aria-label={text.traces.one}>
      <div className="sc-between">
        <h2>{text.traces.one}</h2>
        <Button variant="secondary" onClick={onClose}>
          {text.traces.close}
        </Button>
      </div>
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {data && (
        <>
          <Facts
            facts={[
              [text.traces.id, <code>{data.id}</code>],
              [text.traces.start, <When at={data.start} />],
              [text.traces.duration, duration(data.duration)],
              [text.traces.spans, data.spans.length],
            ]}
          />
          <div className="sc-scroll" tabIndex={0} role="group" aria-label={text.traces.spans}>
            <table className="sc-table sc-spans" aria-label={text.traces.spans}>
              <Head titles={[text.traces.service, text.traces.operation, text.traces.when, text.traces.duration]} />
              <tbody>
                {data.spans.map((span, index) => {
                  const place = bar(span, data);
                  return (
                    <Fragment key={index}>
                      <tr>
                        <th scope="row" style={{ paddingInlineStart: `${0.4 + span.depth * 0.9}rem` }}>
                          <span className="sc-status-words">
                            {span.error && <StatusMark status="Failure" />}
                            {span.service} <span className="sc-where">{span.kind}</span>
                          </span>
                        </th>
                        <td>
                          <button type="button" className="sc-link" aria-expanded={open.has(index)} onClick={() => toggle(index)}>
                            {span.operation}
                          </button>
                        </td>
                        <td className="sc-bar-cell">
                          <span
                            className={`sc-bar-of-time ${span.error ? 'sc-failure' : 'sc-healthy'}`}
                            style={{ marginInlineStart: `${place.left}%`, width: `${place.width}%` }}
                          />
                        </td>
                        <td className="sc-number">{duration(span.duration)}</td>
                      </tr>
                      {open.has(index) && (
                        <tr>
                          <td colSpan={4}>
                            <Tags span={span} />
                          </td>
                        </tr>
                      )}
                    </Fragment>
                  );
                })}
              </tbody>
            </table>
          </div>
        </>
      )}
    </section>
  );
}

function Tags({ span }: { span: Span }) {
  return <Facts facts={Object.entries(span.tags).map(([name, value]) => [name, <code className="sc-tag">{value}</code>] as const)} />;
}
