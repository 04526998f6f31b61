import { Suspense, lazy } from 'react';
import { useApi } from '../api/client';
import { Select } from '../pages/Filters';
import { Empty, Loading, Problem, Stale } from '../shell/states';
import { details as text } from '../text.details';
import { useOptions } from '../useOptions';
import { useParameters } from './parameters';
import type { Subject } from './subject';

const ChartOverTime = lazy(() => import('./Chart'));
const DEFAULTS = { by: 'none', reporter: '', quantile: 'all' };

/** Charts of the requests to a subject, or of those it sends. */
export default function MetricsTab({ subject, direction }: { subject: Subject; direction: 'inbound' | 'outbound' }) {
  const [options] = useOptions();
  const [chosen, change] = useParameters(DEFAULTS);
  const parameters = { ...subject, ...chosen, direction, window: options.window };
  const { data, error, refetch } = useApi('/api/series', parameters, options.refresh);
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
      </div>
      {data && <Stale error={error} />}
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {data && !data.charts.length && (
        <Empty title={text.metrics.none(options.window)} words={direction === 'inbound' ? text.metrics.noneIn : text.metrics.noneOut} />
      )}
      {data && (
        <Suspense fallback={<Loading />}>
          <div className="sc-charts">
            {data.charts.map((chart) => (
              <ChartOverTime key={chart.name} chart={chart} times={data.times} />
            ))}
          </div>
        </Suspense>
      )}
    </>
  );
}
