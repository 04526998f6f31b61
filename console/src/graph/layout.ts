/** What a layout is, and who makes it. It depends on what is connected only, never on numbers: it is made
 * anew when nodes, edges or boxes come or go. */
import type { BoxKind } from '../options';
import type { ShownGraph, ShownNode } from './collapse';

export const SIZE = 44; // of a node's shape

export interface Point {
  x: number;
  y: number;
}
export interface Placed extends Point {
  width: number;
  height: number;
}
export interface Layout {
  key: string;
  /** Of nodes and boxes (`box:<group>`); a node in a box is placed relative to it. */
  places: Map<string, Placed>;
  /** Of edges, from end to end: a start, then three points for each cubic curve. */
  routes: Map<string, Point[]>;
  groups: Groups;
  /** Whether it is `arrange`'s, which has no routes. */
  arranged: boolean;
}

/** The names of the boxes that nodes are in, by the ids of nodes. */
export type Groups = ReadonlyMap<string, string>;

/** The id of a box. */
export const boxOf = (group: string): string => `box:${group}`;

/** The boxes of a graph: its namespaces; or applications with more than one node, as `namespace/app`. */
export function groupsOf(graph: ShownGraph, boxes: BoxKind): Groups {
  const name = (node: ShownNode): string => {
    if (node.members || !node.namespace || boxes === 'none') return '';
    if (boxes === 'namespace') return node.namespace;
    const app = node.app || node.labels['app'];
    return app ? `${node.namespace}/${app}` : '';
  };
  const named = graph.nodes.map((node) => [node.id, name(node)] as const).filter(([, group]) => group);
  const counts = new Map<string, number>();
  for (const [, group] of named) counts.set(group, (counts.get(group) ?? 0) + 1);
  return new Map(named.filter(([, group]) => boxes === 'namespace' || (counts.get(group) ?? 0) > 1));
}

/** What a layout depends on. */
export function keyOf(graph: ShownGraph, groups: Groups): string {
  const nodes = graph.nodes.map((node) => `${node.id}|${groups.get(node.id) ?? ''}`).sort();
  return [...nodes, ...graph.edges.map((edge) => edge.id).sort()].join('\n');
}

const LARGE = 250; // edges: ELK takes half a second for them, and eight for three times as many

/** The layout of a graph: ELK's, or above a size a simpler one. `before`: the one that is shown. */
export async function layout(graph: ShownGraph, groups: Groups, before: Layout | null): Promise<Layout> {
  if (graph.edges.length > LARGE) return (await import('./arrange')).arrange(graph, groups, before);
  return (await import('./layered')).layered(graph, groups);
}
