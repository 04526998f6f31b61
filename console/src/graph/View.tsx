/** The graph as a picture or a table, or why there is neither and what to do. */
import { Act } from '../shell/Act';
import { Suspense, lazy } from 'react';
import type { Graph } from '../api/contract.gen';
import type { Options } from '../options';
import { Empty, Loading, Problem } from '../shell/states';
import { text } from '../text';
import type { Change } from '../useOptions';
import { Canvas } from './Canvas';
import type { ShownGraph } from './collapse';
import type { Look } from './elements';
import type { Placing } from './useLayout';

const GraphTable = lazy(() => import('./GraphTable'));
const LONGER = '1h'; // the window that an empty graph offers

interface Props {
  data: Graph | undefined;
  error: Error | null;
  /** What of the data is shown. */
  shown: ShownGraph | undefined;
  placed: Placing;
  options: Options;
  look: Look;
  change: Change;
  onRetry: () => void;
  onToggle: (namespace: string) => void;
}

export function View({ data, error, shown, placed, options, look, change, onRetry, onToggle }: Props) {
  const select = (selected: string): void => change({ selected });
  if (!data && error) return <Problem error={error} retry={onRetry} />;
  if (!data || !shown) return <Loading />;
  if (!data.nodes.length) return <NoTraffic notes={data.notes} options={options} change={change} />;
  if (!shown.nodes.length)
    return (
      <Empty title={text.graph.allHidden} words="">
        <Act words={text.list.clear} onClick={() => change({ hide: '' })} />
      </Empty>
    );
  if (options.table)
    return (
      <Suspense fallback={<Loading />}>
        <GraphTable graph={shown} sort={options.sort} onSort={(sort) => change({ sort })} selected={options.selected} onSelect={select} />
      </Suspense>
    );
  if (placed.error)
    return (
      <Empty title={text.graph.notPlaced} words={placed.error.message}>
        <Act words={text.graph.table} onClick={() => change({ table: true })} />
      </Empty>
    );
  if (!placed.layout) return <Loading words={text.graph.loading} slow={text.graph.slow} />;
  return <Canvas graph={shown} layout={placed.layout} look={look} onSelect={select} onToggle={onToggle} />;
}

function NoTraffic({ notes, options, change }: { notes: string[]; options: Options; change: Change }) {
  return (
    <Empty title={text.graph.empty} words={notes.length ? notes : text.graph.emptyFix}>
      {!options.idle && <Act words={text.graph.showIdle} onClick={() => change({ idle: true })} />}
      <Act words={text.shell.windows(LONGER)} onClick={() => change({ window: LONGER })} />
    </Empty>
  );
}
