import { useEffect, useMemo, useRef, useState } from 'react';
import type { BoxKind } from '../options';
import type { ShownGraph } from './collapse';
import { type Layout, groupsOf, keyOf, layout } from './layout';

/** A layout, or why there is none; neither while the first one is being made. */
export interface Placing {
  layout: Layout | null;
  error: Error | null;
}

/** The layout of a graph; the one before stays until the next is there. Numbers alone make no new one. */
export function useLayout(graph: ShownGraph | undefined, boxes: BoxKind): Placing {
  const [placing, setPlacing] = useState<Placing>({ layout: null, error: null });
  const groups = useMemo(() => graph && groupsOf(graph, boxes), [graph, boxes]);
  const key = graph && groups && graph.nodes.length ? keyOf(graph, groups) : '';
  const shown = useRef<Layout | null>(null);
  useEffect(() => {
    if (!graph || !groups || !key) return;
    let wanted = true;
    layout(graph, groups, shown.current).then(
      (next) => {
        if (!wanted) return;
        shown.current = next;
        setPlacing({ layout: next, error: null });
      },
      (error: Error) => wanted && setPlacing({ layout: null, error }),
    );
    return () => {
      wanted = false;
    };
    // The key is all of the graph that a layout depends on.
  }, [key]);
  return placing;
}
