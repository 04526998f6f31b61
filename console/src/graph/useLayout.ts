import { useEffect, useState } from 'react';
import type { ShownGraph } from './collapse';
import { type Layout, keyOf, layout } from './layout';

/** A layout, or why there is none; neither while the first one is being made. */
export interface Placing {
  layout: Layout | null;
  error: Error | null;
}

/** The layout of a graph; the one before stays until the next is there. Numbers alone make no new one. */
export function useLayout(graph: ShownGraph | undefined): Placing {
  const [placing, setPlacing] = useState<Placing>({ layout: null, error: null });
  const key = graph && graph.nodes.length ? keyOf(graph) : '';
  useEffect(() => {
    if (!graph || !key) return;
    let wanted = true;
    layout(graph).then(
      (next) => wanted && setPlacing({ layout: next, error: null }),
      (error: Error) => wanted && setPlacing({ layout: null, error }),
    );
    return () => {
      wanted = false;
    };
    // The key is all of the graph that a layout depends on.
  }, [key]);
  return placing;
}
