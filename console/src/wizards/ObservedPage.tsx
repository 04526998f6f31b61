/** A policy by what a workload was asked in the last hour, with what it would have refused. */
import { useCallback, useState } from 'react';
import { Link, useNavigate, useSearchParams } from 'react-router';
import { post, useApi } from '../api/client';
import { text } from '../config/text';
import { shared } from '../options';
import { Empty, Loading, Problem } from '../shell/states';
import { Preview } from './Preview';
import { ChoiceField, TextField } from './fields';

export default function ObservedPage() {
  const [query] = useSearchParams();
  const navigate = useNavigate();
  const workloads = useApi('/api/workloads');
  const [chosen, setChosen] = useState('');
  const [name, setName] = useState('');
  const listed = (workloads.data ?? []).filter((one) => one.sidecar).map((one) => `${one.namespace}/${one.name}`);
  const workload = chosen || (listed[0] ?? '');
  const [namespace = '', short = ''] = workload.split('/');
  const policy = name || `${short}-observed`;
  const propose = useCallback(
    () => post('/api/forms/observed', { namespace, workload: short, name: policy }),
    [namespace, short, policy],
  );
  if (!workloads.data) return workloads.error ? <Problem error={workloads.error} retry={() => void workloads.refetch()} /> : <Loading />;
  if (!listed.length) return <Empty title={text.observed.none} words={text.observed.noneFix} />;
  return (
    <div className="sc-page">
      <nav aria-label={text.object.back}>
        <Link to={`/config${shared(query)}`}>{text.object.back}</Link>
      </nav>
      <h1>{text.observed.title}</h1>
      <p>{text.observed.intro}</p>
      <div className="sc-wizard">
        <form className="sc-card" onSubmit={(event) => event.preventDefault()}>
          <ChoiceField
            label={text.observed.workload}
            value={workload}
            choices={listed.map((one) => [one, one])}
            onChange={(next) => setChosen(next ?? '')}
          />
          <TextField label={text.form.name} value={policy} onChange={(next) => setName(next ?? '')} />
        </form>
        <Preview
          key={workload}
          propose={propose}
          onApplied={() => void navigate(`/config/AuthorizationPolicy/${namespace}/${policy}${shared(query)}`)}
          onCancel={() => void navigate(`/config/new${shared(query)}`)}
        />
      </div>
    </div>
  );
}
