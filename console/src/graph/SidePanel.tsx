/** The side panel: what the selected node or edge carries, and why its colour is what it is. */
import { Act } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import TimesIcon from '@patternfly/react-icons/dist/esm/icons/times-icon';
import { type ReactNode, Suspense, lazy, useEffect, useRef } from 'react';
import { Link, useSearchParams } from 'react-router';
import type { Edge, Node, Traffic } from '../api/contract.gen';
import { Facts, PlainTable } from '../details/Table';
import { namespacePath, pathOf } from '../details/subject';
import { duration, percent, rate, throughput } from '../format';
import { shared } from '../options';
import { StatusMark, StatusWords, Why } from '../shell/health';
import { Words } from '../shell/states';
import { text } from '../text';
import { useOptions } from '../useOptions';
import { Mark } from './MeshNode';
import type { ShownGraph, ShownNode } from './collapse';
import { kindOf, nameOf } from './labels';

interface Props {
  graph: ShownGraph;
  selected: string;
  onSelect: (id: string) => void;
  onToggle: (namespace: string) => void;
}

export default function SidePanel({ graph, selected, onSelect, onToggle }: Props) {
  const node = graph.nodes.find((one) => one.id === selected);
  const edge = graph.edges.find((one) => one.id === selected);
  const panel = useRef<HTMLElement>(null);
  const from = useRef<HTMLElement | SVGElement | null>(null); // where the keyboard was
  useEffect(() => {
    if (panel.current) panel.current.scrollTop = 0;
    const active = document.activeElement as HTMLElement | null;
    if (!active?.matches('.sc-stage :focus-visible') || panel.current?.contains(active)) return;
    from.current = active;
    panel.current?.focus();
  }, [selected]);
  const close = (): void => {
    onSelect('');
    from.current?.focus();
  };
  const heading = node ? nameOf(node) : edge ? endNames(graph, edge) : text.panel.gone;
  return (
    <aside
      ref={panel}
      className="sc-panel"
      tabIndex={0}
      aria-label={text.panel.label}
      onKeyDown={(event) => event.key === 'Escape' && close()}
    >
      <header>
        <div>
          <span className="sc-panel-kind">{node ? text.graph.kinds[kindOf(node)] : edge?.traffic.protocol}</span>
          <h2>{heading}</h2>
        </div>
        <Button variant="plain" aria-label={text.panel.close} icon={<TimesIcon />} onClick={close} />
      </header>
      {node && <NodeDetails node={node} onToggle={onToggle} />}
      {edge && <EdgeDetails edge={edge} graph={graph} onSelect={onSelect} />}
      {!node && !edge && <p>{text.panel.goneFix}</p>}
    </aside>
  );
}

function endNames(graph: ShownGraph, edge: Edge): string {
  const name = (id: string): string => {
    const node = graph.nodes.find((one) => one.id === id);
    return node ? nameOf(node) : id;
  };
  return `${name(edge.source)} → ${name(edge.target)}`;
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h3>{title}</h3>
      {children}
    </section>
  );
}

const Unresolved = lazy(() => import('./Unresolved'));
const OUTSIDE = ['PassthroughCluster', 'BlackHoleCluster'];

/** The page of what a fact of a node names; empty for what has none. */
function pageOf(node: ShownNode, fact: string): string {
  if (fact === 'namespace') return namespacePath(node.namespace);
  if (!node.namespace || node.kind === 'serviceEntry') return '';
  const kind = (['app', 'workload', 'service'] as const).find((one) => one === fact);
  return kind ? pathOf({ kind, namespace: node.namespace, name: node[kind] }) : '';
}

function NodeDetails({ node, onToggle }: { node: ShownNode; onToggle: (namespace: string) => void }) {
  const [query] = useSearchParams();
  const [, change] = useOptions();
  const facts = (['namespace', 'app', 'version', 'workload', 'service'] as const).filter((name) => node[name]);
  return (
    <>
      <Section title={text.health.label}>
        <StatusWords status={node.health.status} />
        {!node.members && <Why health={node.health} />}
      </Section>
      {!node.members && <Act words={text.graph.focus} onClick={() => change({ focus: node.id })} />}
      {node.reason && (
        <Section title={text.panel.reason}>
          <p>
            <Words>{node.reason}</Words>
          </p>
        </Section>
      )}
      {OUTSIDE.includes(node.name) && (
        <Suspense fallback={null}>
          <Unresolved cluster={node.name} />
        </Suspense>
      )}
      {node.members ? (
        <Members node={node} members={node.members} onToggle={onToggle} />
      ) : (
        <Facts
          facts={facts.map((name) => [
            text.panel[name],
            pageOf(node, name) ? <Link to={pageOf(node, name) + shared(query)}>{node[name]}</Link> : node[name],
          ])}
        />
      )}
      {node.badges.length > 0 && (
        <Section title={text.panel.badges}>
          <ul className="sc-plain">
            {node.badges.map((badge) => (
              <li key={badge}>
                <Mark name={badge} /> {text.graph.badges[badge] ?? badge}
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Section title={text.panel.inbound}>
        <TrafficTable traffic={node.inbound} label={text.panel.inbound} />
      </Section>
      <Section title={text.panel.outbound}>
        <TrafficTable traffic={node.outbound} label={text.panel.outbound} />
      </Section>
    </>
  );
}

const LISTED = 12;

/** The nodes of a collapsed namespace: those that are not healthy say why. */
function Members({ node, members, onToggle }: { node: ShownNode; members: Node[]; onToggle: (namespace: string) => void }) {
  return (
    <Section title={text.graph.members(members.length)}>
      <ul className="sc-plain">
        {members.slice(0, LISTED).map((one) => (
          <li key={one.id}>
            <StatusMark status={one.health.status} /> {nameOf(one)}
            {(one.health.status === 'Failure' || one.health.status === 'Degraded') && <Why health={one.health} />}
          </li>
        ))}
      </ul>
      <Button variant="secondary" onClick={() => onToggle(node.namespace)}>
        {text.graph.openNamespace(node.namespace)}
      </Button>
    </Section>
  );
}

function EdgeDetails({ edge, graph, onSelect }: { edge: Edge; graph: ShownGraph; onSelect: (id: string) => void }) {
  const ends = [edge.source, edge.target].flatMap((id) => graph.nodes.find((node) => node.id === id) ?? []);
  return (
    <>
      <Section title={text.health.label}>
        <StatusWords status={edge.status} />
      </Section>
      <Section title={text.panel.traffic}>
        <TrafficTable traffic={[edge.traffic]} label={text.panel.traffic} />
      </Section>
      {edge.p95 !== null && (
        <Section title={text.panel.responseTime}>
          <Facts
            facts={(['p50', 'p95', 'p99'] as const).map((name) => [text.panel.quantile[name], edge[name] === null ? '' : duration(edge[name])])}
          />
          {edge.serverP95 !== null && <p>{text.panel.serverTime(duration(edge.serverP95), duration(edge.p95))}</p>}
        </Section>
      )}
      <Section title={text.panel.mtls}>
        <p>{edge.mutualTlsShare === null ? text.panel.mtlsUnknown : text.panel.mtlsShare(percent(edge.mutualTlsShare))}</p>
      </Section>
      {edge.hosts.length > 0 && (
        <Section title={text.panel.hosts}>
          <ul className="sc-plain">
            {edge.hosts.map((host) => (
              <li key={host}>{host}</li>
            ))}
          </ul>
        </Section>
      )}
      {ends.map((node) => (
        <Section key={node.id} title={nameOf(node)}>
          <StatusWords status={node.health.status} />
          <Why health={node.health} />
          <Act words={text.panel.show(nameOf(node))} onClick={() => onSelect(node.id)} />
        </Section>
      ))}
    </>
  );
}

function TrafficTable({ traffic, label }: { traffic: Traffic[]; label: string }) {
  if (!traffic.length) return <p>{text.panel.noTraffic}</p>;
  return (
    <PlainTable
      label={label}
      columns={[text.panel.protocol, text.panel.rate, text.panel.errors, text.panel.codes]}
      rows={traffic.map((one) => [
        one.protocol,
        one.protocol,
        one.protocol === 'tcp' ? throughput(one.bytes) : rate(one.rate),
        one.protocol === 'tcp' ? '–' : percent(one.errorShare),
        Object.entries(one.codes).map(([code, value]) => (
          <div key={code} className="sc-code">
            <span>{code === '-' ? text.panel.noResponse : code}</span> <span>{rate(value)}</span>
          </div>
        )),
      ])}
    />
  );
}
