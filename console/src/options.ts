/** What a page shows is in its URL. This module turns the URL's query into options and back. Pure. */

export const WINDOWS = ['1m', '5m', '10m', '30m', '1h', '3h', '6h', '12h', '1d', '7d'] as const;
export const REFRESHES = [0, 5, 15, 60] as const;
export const GRAPH_TYPES = ['versionedApp', 'app', 'workload', 'service'] as const;
export const LABELS = ['none', 'rate', 'share', 'errors', 'p50', 'p95', 'p99', 'throughput', 'mtls'] as const;

export const BOXES = ['namespace', 'app', 'none'] as const;

export type BoxKind = (typeof BOXES)[number];
export type GraphKind = (typeof GRAPH_TYPES)[number];
export type LabelKind = (typeof LABELS)[number];

export interface Options {
  /** Names of namespaces; none means all that the user may read. */
  namespaces: string[];
  window: string;
  /** Seconds between looks; 0 is paused. */
  refresh: number;
  type: GraphKind;
  services: boolean;
  idle: boolean;
  labels: LabelKind;
  /** What boxes stand for. */
  boxes: BoxKind;
  animation: boolean;
  legend: boolean;
  /** Whether the graph is shown as a table. */
  table: boolean;
  find: string;
  hide: string;
  /** Namespaces that are not collapsed; `*` all, `-` none, empty: the page decides by size. */
  open: string;
  /** The id of the node whose neighbours alone are shown; empty for all. */
  focus: string;
  /** The moment that is shown, in seconds since the epoch; empty for now. */
  at: string;
  /** The id of the trace that is marked in the graph; empty for none. */
  trace: string;
  /** The id of the selected node or edge. */
  selected: string;
  /** The text that names of a list contain. */
  q: string;
  health: string;
  sidecar: string;
  kind: string;
  accepted: string;
  /** The tab of a page; empty for its first. */
  tab: string;
  /** A column, with `-` before it for the largest first. */
  sort: string;
}

export const DEFAULTS: Readonly<Options> = {
  namespaces: [],
  window: '5m',
  refresh: 5,
  type: 'versionedApp',
  services: true,
  idle: false,
  labels: 'none',
  boxes: 'namespace',
  animation: true,
  legend: false,
  table: false,
  find: '',
  hide: '',
  open: '',
  focus: '',
  at: '',
  selected: '',
  trace: '',
  q: '',
  health: '',
  sidecar: '',
  kind: '',
  accepted: '',
  tab: '',
  sort: '',
};

/** Options that hold on every page; links between pages keep them. */
const SHARED = ['namespaces', 'window', 'refresh'] as const;
const WINDOW = /^[1-9]\d{0,4}[smhd]$/;

/** Options of a query. What is absent or not valid has its default. */
export function parse(query: URLSearchParams): Options {
  const text = (name: keyof Options): string => query.get(name) ?? String(DEFAULTS[name]);
  const flag = (name: keyof Options): boolean => {
    const value = query.get(name);
    return value === 'true' || (value !== 'false' && Boolean(DEFAULTS[name]));
  };
  const one = <T extends string>(name: keyof Options, allowed: readonly T[]): T =>
    allowed.find((value) => value === query.get(name)) ?? (DEFAULTS[name] as T);
  const refresh = query.get('refresh');
  return {
    namespaces: (query.get('namespaces') ?? '').split(',').filter(Boolean),
    window: WINDOW.test(query.get('window') ?? '') ? text('window') : DEFAULTS.window,
    refresh: REFRESHES.find((seconds) => String(seconds) === refresh) ?? DEFAULTS.refresh,
    type: one('type', GRAPH_TYPES),
    services: flag('services'),
    idle: flag('idle'),
    labels: one('labels', LABELS),
    boxes: one('boxes', BOXES),
    animation: flag('animation'),
    legend: flag('legend'),
    table: flag('table'),
    find: text('find'),
    hide: text('hide'),
    open: text('open'),
    focus: text('focus'),
    at: /^\d{1,12}$/.test(query.get('at') ?? '') ? text('at') : '',
    selected: text('selected'),
    trace: text('trace'),
    q: text('q'),
    health: text('health'),
    sidecar: text('sidecar'),
    kind: text('kind'),
    accepted: text('accepted'),
    tab: text('tab'),
    sort: text('sort'),
  };
}

/** The query with some options changed. Defaults are left out, so that URLs stay short. */
export function write(query: URLSearchParams, change: Partial<Options>): URLSearchParams {
  const out = new URLSearchParams(query);
  for (const [name, value] of Object.entries(change)) {
    const text = Array.isArray(value) ? value.join(',') : String(value);
    if (text === String(DEFAULTS[name as keyof Options])) out.delete(name);
    else out.set(name, text);
  }
  return out;
}

/** The part of a query that goes along to another page, with its `?`; empty for none. */
export function shared(query: URLSearchParams, more: Partial<Options> = {}): string {
  const kept = new URLSearchParams();
  for (const name of SHARED) {
    const value = query.get(name);
    if (value !== null) kept.set(name, value);
  }
  const text = write(kept, more).toString();
  return text && `?${text}`;
}
