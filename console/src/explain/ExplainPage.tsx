/** One request: who asks, what for, and what the mesh does with it. Everything that is asked is in the URL. */
import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { useQuery } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { Link, useSearchParams } from 'react-router';
import { ApiProblem, post, useApi } from '../api/client';
import type { Destination, Explanation } from '../api/contract.gen';
import { linkTo } from '../config/links';
import { Facts } from '../details/Table';
import { percent } from '../format';
import { shared } from '../options';
import { StatusMark } from '../shell/health';
import { Loading } from '../shell/states';
import { ChoiceField, LabelsField, TextField } from '../wizards/fields';
import { labelsOf, textOfLabels } from '../wizards/values';
import { text } from './text';

const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS'];

export default function ExplainPage() {
  const [query, setQuery] = useSearchParams();
  const asked = {
    source: query.get('source') ?? '',
    url: query.get('url') ?? '',
    method: query.get('method') ?? 'GET',
    headers: labelsOf(query.get('headers') ?? ''),
  };
  const [typed, setTyped] = useState(asked);
  const workloads = useApi('/api/workloads');
  const sources = (workloads.data ?? []).map((one) => `${one.namespace}/${one.name}`);
  const answer = useQuery({
    queryKey: ['/api/explain', asked],
    queryFn: () => post('/api/explain', { ...asked, gateway: '', claims: null, sourceIp: '' }),
    enabled: Boolean(asked.url),
    retry: false,
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const next = new URLSearchParams(shared(query));
    for (const [name, value] of Object.entries({ ...typed, headers: textOfLabels(typed.headers) })) if (value) next.set(name, value);
    setQuery(next);
  };
  const problem = answer.error instanceof ApiProblem ? answer.error : null;
  return (
    <div className="sc-page">
      <h1>{text.title}</h1>
      <p>{text.intro}</p>
      <form className="sc-card" onSubmit={submit}>
        <div className="sc-fields">
          <ChoiceField
            label={text.from}
            value={typed.source}
            choices={[['', text.outside], ...sources.map((one) => [one, one] as const)]}
            onChange={(source) => setTyped({ ...typed, source: source ?? '' })}
          />
          <ChoiceField
            label={text.method}
            value={typed.method}
            choices={METHODS.map((one) => [one, one])}
            onChange={(method) => setTyped({ ...typed, method: method ?? 'GET' })}
          />
          <TextField
            label={text.url}
            value={typed.url}
            required
            placeholder="http://reviews:9080/reviews/0"
            onChange={(url) => setTyped({ ...typed, url: url ?? '' })}
          />
          <LabelsField label={text.headers} value={typed.headers} onChange={(headers) => setTyped({ ...typed, headers })} />
          <Button type="submit" isDisabled={!typed.url}>
            {text.ask}
          </Button>
        </div>
      </form>
      {problem && <Alert isInline variant="danger" title={problem.message} />}
      {answer.isFetching && !answer.data && <Loading />}
      {answer.data && <Answer found={answer.data} />}
    </div>
  );
}

function Answer({ found }: { found: Explanation }) {
  const facts: [string, string][] = [
    [text.proxy, found.proxy],
    [text.listener, [found.listener, found.filterChain].filter(Boolean).join(', ')],
    [text.routes, [found.routeConfig, found.virtualHost].filter(Boolean).join(', ')],
    [text.rewritten, found.rewritten],
    [text.timeout, found.timeout],
    [text.retries, found.retries],
    [text.faults, found.faults.join(', ')],
    [text.mirrors, found.mirrors.join(', ')],
  ];
  return (
    <section className="sc-card" aria-label={text.answer} aria-live="polite">
      <h2>{found.outcome}</h2>
      <Facts facts={facts} />
      {(found.skipped.length > 0 || found.virtualHost) && (
        <ol className="sc-plain">
          {found.skipped.map((one, index) => (
            <li key={index}>
              <StatusMark status="NA" /> <ObjectLink name={one.object} /> {text.skipped}: {one.reason}
            </li>
          ))}
          {found.virtualHost && found.destinations.length > 0 && (
            <li>
              <StatusMark status="Healthy" /> <ObjectLink name={found.object} /> {text.decides}
            </li>
          )}
        </ol>
      )}
      {found.destinations.map((one) => (
        <DestinationCard key={one.cluster} one={one} />
      ))}
    </section>
  );
}

function DestinationCard({ one }: { one: Destination }) {
  return (
    <section className="sc-card">
      <h3>
        {one.host}
        {one.port > 0 && `:${one.port}`} {one.subset} {one.share < 100 && percent(one.share / 100)}
      </h3>
      {one.rule && <ObjectLink name={one.rule} />}
      {one.problem && (
        <p>
          <StatusMark status="Degraded" /> {one.problem}
        </p>
      )}
      <ul className="sc-plain">
        {one.endpoints.map((endpoint) => (
          <li key={endpoint.address}>
            <StatusMark status={endpoint.health === 'HEALTHY' ? 'Healthy' : 'Failure'} /> {endpoint.address} {endpoint.workload}{' '}
            <span className="sc-where">{endpoint.mutualTls ? text.mutualTls : text.plainText}</span>
          </li>
        ))}
        {Object.entries(one.allowed).map(([workload, decision]) => (
          <li key={workload}>
            <StatusMark status={decision.decision === 'deny' ? 'Failure' : 'Healthy'} /> {workload} {text.decisions[decision.decision]}
            {decision.policy && (
              <>
                {' '}
                <ObjectLink name={`AuthorizationPolicy ${decision.policy}`} />
              </>
            )}
            : {decision.reason}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** A link to KIND NAMESPACE/NAME. */
function ObjectLink({ name: whole }: { name: string }) {
  const [query] = useSearchParams();
  const [kind = '', rest = ''] = whole.split(' ');
  const [namespace = '', name = ''] = rest.split('/');
  if (!name) return <>{text.defaultRoute}</>;
  const kept = new URLSearchParams(query);
  for (const key of ['source', 'url', 'method', 'headers']) kept.delete(key);
  return <Link to={linkTo({ kind, namespace, name }) + shared(kept)}>{whole}</Link>;
}
