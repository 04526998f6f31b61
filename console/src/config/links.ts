/** The page of an object. Pure. */
const PAGES: Record<string, string> = {
  Service: '/services',
  Deployment: '/workloads',
  StatefulSet: '/workloads',
  DaemonSet: '/workloads',
  Pod: '/workloads',
};

export function linkTo({ kind, namespace, name }: { kind: string; namespace: string; name: string }): string {
  const page = PAGES[kind];
  return page ? `${page}/${namespace}/${name}` : `/config/${kind}/${namespace}/${name}`;
}
