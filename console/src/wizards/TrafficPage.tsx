/** The wizard of a service's traffic: routing, shares, faults, timeouts, retries, mirrors, and the policy of its destination. */
import { Act } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { useCallback, useState } from 'react';
import { Link, useNavigate, useParams, useSearchParams } from 'react-router';
import { post, useApi } from '../api/client';
import type { HttpRule, Policy, TrafficForm, TrafficRules } from '../api/contract.gen';
import { text } from '../config/text';
import { shared } from '../options';
import { Empty, Loading, Problem } from '../shell/states';
import { Preview } from './Preview';
import { RuleEditor, Section, Targets } from './RuleEditor';
import { ChoiceField, LabelsField, ListField, NumberField, TextField } from './fields';
import { earlier, even, incomplete, rule, target, withItem } from './values';

const words = text.traffic;

export default function TrafficPage() {
  const { namespace = '', name = '' } = useParams();
  const [query] = useSearchParams();
  const answer = useApi('/api/forms/traffic', { namespace, service: name });
  if (!answer.data) return answer.error ? <Problem error={answer.error} retry={() => void answer.refetch()} /> : <Loading />;
  const { data } = answer;
  if (data.problem)
    return (
      <Empty title={text.form.problem} words={data.problem}>
        {data.objects.map((one) => (
          <Link key={one.kind} to={`/config/${one.kind}/${one.namespace}/${one.name}${shared(query, { tab: 'yaml' })}`}>
            {text.form.openEditor}: {one.kind}
          </Link>
        ))}
      </Empty>
    );
  return <Wizard key={`${namespace}/${name}`} form={data} />;
}

function Wizard({ form }: { form: TrafficForm }) {
  const { namespace, service } = form;
  const [rules, setRules] = useState<TrafficRules>(form.rules);
  const [query] = useSearchParams();
  const navigate = useNavigate();
  const set = (part: Partial<TrafficRules>): void => setRules((now) => ({ ...now, ...part }));
  const subsets = rules.subsets.map((one) => one.name);
  const versions = [...new Set([...subsets, ...form.versions.map((one) => one.name)])];
  const propose = useCallback(() => post('/api/forms/traffic', { namespace, service, rules }), [namespace, service, rules]);
  /** Rules, and the versions that they need as subsets. */
  const route = (http: HttpRule[]): void => {
    const used = new Set(http.flatMap((one) => [...one.targets, ...(one.mirror ? [one.mirror] : [])].map(({ subset }) => subset)));
    const missing = form.versions.filter((one) => used.has(one.name) && !subsets.includes(one.name));
    set({ http, subsets: [...rules.subsets, ...missing.map(({ name, labels }) => ({ name, labels }))] });
  };
  const fresh = (): HttpRule => {
    const targets = form.versions.length > 1 ? form.versions.map((one) => target(service, one.name)) : [target(service)];
    return rule(targets.length > 1 ? even(targets) : targets);
  };
  return (
    <div className="sc-page">
      <nav aria-label={text.object.back}>
        <Link to={`/services${shared(query)}`}>{namespace}</Link>
      </nav>
      <h1>{words.title(service)}</h1>
      <p>{words.intro}</p>
      <div className="sc-wizard">
        <form onSubmit={(event) => event.preventDefault()} className="sc-rules">
          {rules.http.map((one, index) => (
            <RuleEditor
              key={index}
              number={index + 1}
              rule={one}
              service={service}
              versions={versions}
              onChange={(next) => route(withItem(rules.http, index, next))}
              onEarlier={index ? () => route(earlier(rules.http, index)) : null}
              onRemove={() => route(withItem(rules.http, index, null))}
            />
          ))}
          <div className="sc-filters">
            {rules.http.length > 0 && (
              <Button variant="secondary" onClick={() => route([{ ...rule([target(service)]), matches: [[{ part: 'header', operator: 'exact', name: '', value: '' }]] }, ...rules.http])}>
                {words.addFirst}
              </Button>
            )}
            <Button variant="secondary" onClick={() => route([...rules.http, fresh()])}>
              {words.addRule}
            </Button>
          </div>
          <PolicyEditor policy={rules.policy} onChange={(policy) => set({ policy })} />
          <div className="sc-card">
            <Section title={words.versions} open={false}>
              <p>{words.versionsHelp}</p>
              {rules.subsets.map((one, index) => (
                <div key={index} className="sc-fields">
                  <TextField label={words.name} value={one.name} onChange={(name) => set({ subsets: withItem(rules.subsets, index, { ...one, name: name ?? '' }) })} />
                  <LabelsField label={words.value} value={one.labels} onChange={(labels) => set({ subsets: withItem(rules.subsets, index, { ...one, labels }) })} />
                  <Act words={words.remove} onClick={() => set({ subsets: withItem(rules.subsets, index, null) })} />
                </div>
              ))}
              <Act words={words.addVersions} onClick={() => set({ subsets: form.versions.map(({ name, labels }) => ({ name, labels })) })} />
            </Section>
            <Section title={words.edges} open={rules.gateways.length > 0}>
              <ListField label={words.hosts} value={rules.hosts} onChange={(hosts) => set({ hosts })} />
              <ListField
                label={words.gateways}
                help={[words.gatewaysHelp, form.gateways.join(', ')].filter(Boolean).join(' ')}
                value={rules.gateways}
                onChange={(gateways) => set({ gateways })}
              />
            </Section>
            <Section title={words.tcp} open={rules.tcp.length > 0}>
              {rules.tcp.map((one, index) => (
                <div key={index}>
                  <NumberField
                    label={words.port}
                    value={one.port || null}
                    onChange={(port) => set({ tcp: withItem(rules.tcp, index, { ...one, port: port ?? 0 }) })}
                  />
                  <Targets
                    targets={one.targets}
                    service={service}
                    versions={versions}
                    onChange={(targets) => set({ tcp: withItem(rules.tcp, index, { ...one, targets }) })}
                  />
                  <Act words={words.remove} onClick={() => set({ tcp: withItem(rules.tcp, index, null) })} />
                </div>
              ))}
              <Act words={words.addTcp} onClick={() => set({ tcp: [...rules.tcp, { port: form.ports[0] ?? 0, targets: fresh().targets }] })} />
            </Section>
          </div>
        </form>
        <Preview
          propose={incomplete(rules) ? null : propose}
          onApplied={() => void navigate(`/graph${shared(query, { find: `name = ${service} and ns = ${namespace}` })}`)}
          onCancel={() => void navigate(-1)}
        />
      </div>
    </div>
  );
}

const BALANCERS = ['LEAST_REQUEST', 'ROUND_ROBIN', 'RANDOM', 'PASSTHROUGH'];
const TLS = ['ISTIO_MUTUAL', 'DISABLE', 'SIMPLE', 'MUTUAL'];
const choices = (values: string[]) => [['', text.form.none] as const, ...values.map((value) => [value, value] as const)];

function PolicyEditor({ policy, onChange }: { policy: Policy; onChange: (policy: Policy) => void }) {
  const set = (part: Partial<Policy>): void => onChange({ ...policy, ...part });
  const any = (...values: unknown[]): boolean => values.some((value) => value !== null);
  return (
    <fieldset className="sc-card">
      <legend>{words.policy}</legend>
      <Section title={words.balancing} open={any(policy.loadBalancer, policy.hashHeader, policy.hashCookie)}>
        <ChoiceField label={words.loadBalancer} value={policy.loadBalancer} choices={choices(BALANCERS)} onChange={(loadBalancer) => set({ loadBalancer })} />
        <TextField label={words.hashHeader} value={policy.hashHeader} onChange={(hashHeader) => set({ hashHeader })} />
        <TextField
          label={words.hashCookie}
          value={policy.hashCookie}
          onChange={(hashCookie) => set({ hashCookie, hashCookieTtl: hashCookie ? (policy.hashCookieTtl ?? '0s') : null })}
        />
      </Section>
      <Section title={words.pool} open={any(policy.maxConnections, policy.maxPendingRequests, policy.maxRequests)}>
        <NumberField label={words.maxConnections} value={policy.maxConnections} onChange={(maxConnections) => set({ maxConnections })} />
        <NumberField label={words.maxPending} value={policy.maxPendingRequests} onChange={(maxPendingRequests) => set({ maxPendingRequests })} />
        <NumberField label={words.maxRequests} value={policy.maxRequests} onChange={(maxRequests) => set({ maxRequests })} />
        <NumberField
          label={words.perConnection}
          value={policy.maxRequestsPerConnection}
          onChange={(maxRequestsPerConnection) => set({ maxRequestsPerConnection })}
        />
      </Section>
      <Section title={words.outlier} open={any(policy.consecutiveErrors, policy.consecutiveGatewayErrors)}>
        <NumberField label={words.consecutive} value={policy.consecutiveErrors} onChange={(consecutiveErrors) => set({ consecutiveErrors })} />
        <TextField label={words.interval} value={policy.outlierInterval} placeholder={words.seconds} onChange={(outlierInterval) => set({ outlierInterval })} />
        <TextField label={words.ejection} value={policy.baseEjectionTime} placeholder={words.seconds} onChange={(baseEjectionTime) => set({ baseEjectionTime })} />
        <NumberField label={words.maxEjection} value={policy.maxEjectionPercent} max={100} onChange={(maxEjectionPercent) => set({ maxEjectionPercent })} />
      </Section>
      <Section title={words.tls} open={any(policy.tlsMode)}>
        <ChoiceField label={words.tls} value={policy.tlsMode} choices={choices(TLS)} onChange={(tlsMode) => set({ tlsMode })} />
      </Section>
    </fieldset>
  );
}
