import { Suspense, lazy } from 'react';
import type { Runtimes } from '../api/contract.gen';
import { Empty, Loading } from '../shell/states';
import { details as text } from '../text.details';

const ChartOverTime = lazy(() => import('./Chart'));

/** Charts of what the pods run in. */
export default function RuntimeTab({ data, window }: { data: Runtimes | undefined; window: string }) {
  if (!data) return <Loading />;
  if (!data.runtimes.length) return <Empty title={text.runtime.none(window)} words={text.runtime.noneFix} />;
  return (
    <Suspense fallback={<Loading />}>
      {data.runtimes.map(({ name, charts }) => (
        <section key={name} aria-label={name} className="sc-runtime">
          <h2>{name}</h2>
          <div className="sc-charts">
            {charts.map((chart) => (
              <ChartOverTime key={chart.name} chart={chart} times={data.times} />
            ))}
          </div>
        </section>
      ))}
    </Suspense>
  );
}
