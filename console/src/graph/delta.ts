/** Applies the changes that the server sends to the graph that is shown. Pure. */
import type { Graph, GraphDelta } from '../api/contract.gen';

/** The graph after a change; null if the change is of another graph, and the whole must be asked for again. */
export function apply(graph: Graph, delta: GraphDelta): Graph | null {
  if (delta.since !== graph.number) return null;
  return {
    ...graph,
    number: delta.number,
    at: delta.at,
    notes: delta.notes,
    nodes: merged(graph.nodes, delta.nodes, delta.removedNodes),
    edges: merged(graph.edges, delta.edges, delta.removedEdges),
  };
}

/** Changed elements keep their place, new ones go to the end; without changes it is the same array. */
function merged<T extends { id: string }>(elements: T[], changed: T[], removed: string[]): T[] {
  if (!changed.length && !removed.length) return elements;
  const gone = new Set(removed);
  const latest = new Map(changed.map((element) => [element.id, element]));
  const out = elements.filter((element) => !gone.has(element.id)).map((element) => latest.get(element.id) ?? element);
  const present = new Set(out.map((element) => element.id));
  return [...out, ...changed.filter((element) => !present.has(element.id))];
}
