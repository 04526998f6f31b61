/** What a page of details is about, and where it is. Pure. */

export type SubjectKind = 'workload' | 'service' | 'app';

export interface Subject {
  kind: SubjectKind;
  namespace: string;
  name: string;
}

const FOLDERS: Record<SubjectKind, string> = { workload: '/workloads', service: '/services', app: '/applications' };
const TABS: Record<SubjectKind, readonly string[]> = {
  workload: ['overview', 'inbound', 'outbound', 'logs', 'traces', 'envoy', 'runtime'],
  service: ['overview', 'inbound', 'logs', 'traces'],
  app: ['overview', 'inbound', 'outbound', 'logs', 'traces', 'runtime'],
};

/** The list that has a kind. */
export const folderOf = (kind: SubjectKind): string => FOLDERS[kind];

export const pathOf = ({ kind, namespace, name }: Subject): string =>
  `${FOLDERS[kind]}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;

export const namespacePath = (name: string): string => `/namespaces/${encodeURIComponent(name)}`;

export const tabsOf = (kind: SubjectKind): readonly string[] => TABS[kind];

/** A tab of the URL; the first for one that is not there. */
export const tabOf = (kind: SubjectKind, tab: string): string => TABS[kind].find((one) => one === tab) ?? TABS[kind][0] ?? '';

/** The options of the graph that show a subject and its neighbours; the node's id is the server's. */
export function graphOf({ kind, namespace, name }: Subject) {
  const id = `${kind}:${namespace}/${name}`;
  return { type: kind, focus: id, selected: id } as const;
}
