import { Check, Select } from '../shell/Act';
import { Suspense, lazy, useMemo } from 'react';
import { useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import { Empty, Loading, Problem, Stale } from '../shell/states';
import { details as text } from '../text.details';
import { shared } from '../options';
import { useOptions } from '../useOptions';
import { useParameters } from './parameters';
import { Notes } from './parts';
import { type Subject, pathOf } from './subject';
import { type Dot, dotsOf } from './traceView';

const ChartOverTime = lazy(() => import('./Chart'));
const DEFAULTS = { by: 'none', reporter: '', quantile: 'all', spans: 'false' };

const NONE: Dot[] = [];

/** Charts of the requests to a subject, or of those it sends. */
export default function MetricsTab({ subject, direction }: { subject: Subject; direction: 'inbound' | 'outbound' }) {
  const [options] = useOptions();
  const [query] = useSearchParams();
  const traces = `${pathOf(subject)}${shared(query, { tab: 'traces' })}`;
  const [chosen, change] = useParameters(DEFAULTS);
  const { spans, ...lines } = chosen;
  const parameters = { ...subject, ...lines, direction, window: options.window };
  const { data, error, refetch } = useApi('/api/series', parameters, options.refresh);
  const over = useApi('/api/traces', { ...subject, window: options.window, limit: 500 }, options.refresh, spans === 'true');
  const dots = useMemo(() => (spans === 'true' && over.data ? dotsOf(over.data.traces, direction) : []), [spans, over.data, direction]);
  const choices = (of: Record<string, string>) => Object.entries(of);
  return (
    <>
      <div className="sc-filters">
        <Select label={text.metrics.by} value={chosen.by} choices={choices(text.metrics.bys)} onChange={(by) => change({ by })} />
        <Select
          label={text.metrics.quantile}
          value={chosen.quantile}
          choices={choices(text.metrics.quantiles(chosen.by === 'none'))}
          onChange={(quantile) => change({ quantile })}
        />
        <Select
          label={text.metrics.reporter}
          value={chosen.reporter || (direction === 'inbound' ? 'destination' : 'source')}
          choices={choices(text.metrics.reporters)}
          onChange={(reporter) => change({ reporter })}
        />
        <Check label={text.metrics.spans} value={spans === 'true'} onChange={(on) => change({ spans: String(on) })} />
        {spans === 'true' && over.data && <span role="status">{dots.length ? text.metrics.spanCount(dots.length) : text.metrics.noSpans(options.window)}</span>}
      </div>
      {spans === 'true' && over.error && <Notes notes={[over.error.message]} />}
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {data && !data.charts.length && (
        <Empty title={text.metrics.none(options.window)} words={direction === 'inbound' ? text.metrics.noneIn : text.metrics.noneOut} />
      )}
      {data && (
        <Suspense fallback={<Loading />}>
          <div className="sc-charts">
            {data.charts.map((chart) => (
              <ChartOverTime key={chart.name} chart={chart} times={data.times} dots={chart.name === 'duration' ? dots : NONE} traces={traces} />
            ))}
          </div>
        </Suspense>
      )}
    </>
  );
}
