import { Act } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Suspense, lazy, useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { clock, utc } from '../format';
import { Stale } from '../shell/states';
import { text } from '../text';
import { useOptions } from '../useOptions';
import { type Format, Toolbar } from './Toolbar';
import { View } from './View';
import { LIMIT, type ShownGraph, around, collapse, idOf, opened, toggled } from './collapse';
import type { Look } from './elements';
import type { Matches, Parsed } from './find';
import { useGraph } from './useGraph';
import { useLayout } from './useLayout';

const FindHide = lazy(() => import('./FindHide'));
const Legend = lazy(() => import('./Legend'));
const ReplayBar = lazy(() => import('./ReplayBar'));
const SidePanel = lazy(() => import('./SidePanel'));
const TraceBar = lazy(() => import('./TraceBar'));
const NOTHING: Parsed = { expression: null, error: '' };
const still = window.matchMedia('(prefers-reduced-motion: reduce)');

export default function GraphPage() {
  const [options, change] = useOptions();
  const { data, error, refetch, freshness } = useGraph(options);
  const language = useLanguage();
  const find = useMemo(() => language?.parse(options.find) ?? NOTHING, [language, options.find]);
  const hide = useMemo(() => language?.parse(options.hide) ?? NOTHING, [language, options.hide]);
  const waits = options.hide !== '' && !language; // what is to be hidden is not shown first
  const visible = useMemo(
    () => {
      if (waits || !data) return undefined;
      const near = options.focus ? around(data, options.focus) : data;
      return language && hide.expression ? language.without(hide.expression, near) : near;
    },
    [data, hide, language, waits, options.focus],
  );
  const shown = useMemo(() => visible && collapse(visible, opened(visible, options.open)), [visible, options.open]);
  const [traced, setTraced] = useState<Matches | null>(null);
  const found = useMemo(() => {
    const all = traced ?? (visible && language && options.find && find.expression ? language.matches(find.expression, visible) : null);
    return visible && shown && all ? inShown(all, visible.nodes, shown) : null;
  }, [visible, shown, find, language, options.find, traced]);
  const placed = useLayout(shown, options.boxes);
  const latest = useRef(data); // so that nodes are not drawn again because of what their button does
  useEffect(() => {
    latest.current = data;
  }, [data]);
  const select = useCallback((selected: string) => change({ selected }), [change]);
  const toggle = useCallback(
    (namespace: string) => latest.current && change({ open: toggled(latest.current, options.open, namespace), selected: '' }),
    [change, options.open],
  );
  const look = useMemo<Look>(
    () => ({ labels: options.labels, animated: options.animation && !still.matches, selected: options.selected, matches: found }),
    [options.labels, options.animation, options.selected, found],
  );
  const save = (format: Format): void => {
    if (!shown || !placed.layout || !data) return;
    const { layout } = placed;
    void import('./export').then((file) => file.save(format, data, shown, layout, options.labels));
  };
  const words = found && !traced ? text.find.found(found.nodes.size, found.edges.size) : '';
  return (
    <div className="sc-graph">
      <h1 className="sc-hidden">{text.graph.title}</h1>
      <Toolbar options={options} change={change} onExport={save} />
      <div className="sc-bar">
        <Suspense fallback={null}>
          <FindHide options={options} change={change} findError={find.error} hideError={hide.error} found={words} completions={(typed) => language?.completions(typed) ?? []} />
        </Suspense>
        {options.focus && (
          <Button variant="secondary" onClick={() => change({ focus: '' })}>
            {text.graph.focused} ×
          </Button>
        )}
        {data && (
          <span className={`sc-fresh sc-fresh-${freshness}`} title={utc(data.at)}>
            {text.graph[freshness]} · {text.state.updated(clock(data.at))}
          </span>
        )}
      </div>
      <Suspense fallback={null}>{options.at && <ReplayBar at={Number(options.at)} change={change} />}</Suspense>
      <Suspense fallback={null}>
        {options.trace && <TraceBar id={options.trace} graph={visible} change={change} onMatches={setTraced} />}
      </Suspense>
      {data && <Stale error={error} />}
      {data && data.edges.length > LIMIT && (
        <p className="sc-note" role="status">
          {options.open === '' && text.graph.collapsed(data.edges.length)}{' '}
          <Act words={options.open === '*' ? text.graph.collapseAll : text.graph.openAll} onClick={() => change({ open: options.open === '*' ? '-' : '*', selected: '' })} />
        </p>
      )}
      {data && data.nodes.length > 0 && data.notes.length > 0 && <p className="sc-note" role="status">{data.notes.join(' ')}</p>}
      <div className="sc-stage">
        <Suspense fallback={null}>{options.legend && <Legend />}</Suspense>
        <View
          data={data}
          error={error}
          shown={shown}
          options={options}
          look={look}
          change={change}
          onRetry={() => void refetch()}
          onToggle={toggle}
          placed={placed}
        />
        <Suspense fallback={null}>
          {shown && options.selected && <SidePanel graph={shown} selected={options.selected} onSelect={select} onToggle={toggle} />}
        </Suspense>
      </div>
    </div>
  );
}

type Language = typeof import('./find');

/** The language of find and hide; null until it is there. The graph is drawn without waiting for it. */
function useLanguage(): Language | null {
  const [language, setLanguage] = useState<Language | null>(null);
  useEffect(() => void import('./find').then((module) => setLanguage(module)), []);
  return language;
}

/** Matches in collapsed namespaces are matches of the namespace. */
function inShown(found: Matches, nodes: ShownGraph['nodes'], shown: ShownGraph): Matches {
  const present = new Set(shown.nodes.map((node) => node.id));
  const namespaces = nodes.filter((node) => found.nodes.has(node.id) && !present.has(node.id)).map((node) => idOf(node.namespace));
  return { nodes: new Set([...[...found.nodes].filter((id) => present.has(id)), ...namespaces]), edges: found.edges };
}
