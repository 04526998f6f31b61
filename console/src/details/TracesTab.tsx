import { Check, Select } from '../shell/Act';
import { Suspense, lazy } from 'react';
import { useApi } from '../api/client';
import type { TraceRow } from '../api/contract.gen';
import { clock, duration, utc } from '../format';
import { StatusMark } from '../shell/health';
import { Empty, Loading, Problem, Stale } from '../shell/states';
import { details as text } from '../text.details';
import { useOptions } from '../useOptions';
import { PlainTable } from './Table';
import { Notes } from './parts';
import { useParameters } from './parameters';
import type { Subject } from './subject';
import { scatter } from './traceView';

const OneTrace = lazy(() => import('./OneTrace'));

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
        <Check label={text.traces.errorsOnly} value={errors} onChange={(on) => change({ errors: String(on) })} />
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
      <Suspense fallback={<Loading />}>
        {chosen.trace && <OneTrace id={chosen.trace} window={options.window} onSelect={(trace) => change({ trace })} />}
      </Suspense>
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
