/** What a form would change, before it is changed: in sentences, and as YAML against what is there. */
import { Act } from '../shell/Act';
import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Suspense, lazy, useEffect, useState } from 'react';
import { ApiProblem } from '../api/client';
import type { Applied, Proposal } from '../api/contract.gen';
import { Findings } from '../config/YamlEditor';
import { apply } from '../config/changes';
import { text } from '../config/text';
import { PlainTable } from '../details/Table';
import { Loading } from '../shell/states';

const Editor = lazy(() => import('../config/Editor'));
const PAUSE_MS = 400;

interface Props {
  /** Asks the server; null while the form is not complete. */
  propose: (() => Promise<Proposal>) | null;
  onApplied: (applied: Applied) => void;
  onCancel: () => void;
}

export function Preview({ propose, onApplied, onCancel }: Props) {
  const [proposal, setProposal] = useState<Proposal | null>(null);
  const [problem, setProblem] = useState('');
  const [applied, setApplied] = useState<Applied | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (!propose) return;
    let gone = false;
    const timer = window.setTimeout(() => {
      propose()
        .then((next) => {
          if (gone) return;
          setProposal(next);
          setProblem('');
          setApplied(null);
        })
        .catch((error: unknown) => {
          if (!gone) setProblem(error instanceof ApiProblem ? error.message : String(error));
        });
    }, PAUSE_MS);
    return () => {
      gone = true;
      window.clearTimeout(timer);
    };
  }, [propose]);
  const submit = async (): Promise<void> => {
    if (!proposal) return;
    setBusy(true);
    const answer = await apply(proposal.change);
    setBusy(false);
    setApplied(answer);
    if (answer?.done.length) onApplied(answer);
  };
  const { yaml, delete: gone } = proposal?.change ?? { yaml: '', delete: [] };
  const changes = Boolean(yaml || gone.length);
  const markers = [...(proposal?.markers ?? []), ...(applied && !applied.done.length ? applied.markers : [])];
  const wrong = (proposal?.markers ?? []).some((marker) => marker.severity === 'Error');
  return (
    <section className="sc-card sc-preview" aria-label={text.form.preview}>
      <h2>{text.form.effects}</h2>
      <ul className="sc-plain sc-effects" aria-live="polite">
        {proposal?.effects.map((line) => (
          <li key={line} className={line.startsWith(' ') ? 'sc-indent' : ''}>
            {line.trim()}
          </li>
        ))}
        {gone.map((one) => (
          <li key={one.kind}>{text.form.removes(`${one.kind} ${one.namespace}/${one.name}`)}</li>
        ))}
        {proposal && !changes && <li>{text.form.noChange}</li>}
      </ul>
      {proposal && proposal.observed !== null && <Tried proposal={proposal} observed={proposal.observed} />}
      {problem && <Alert isInline variant="warning" title={problem} />}
      {!propose && <p>{text.form.incomplete}</p>}
      {propose && !proposal && !problem && <Loading words={text.form.previewing} />}
      <div className="sc-filters">
        <Button isDisabled={!propose || !changes || wrong || Boolean(problem) || busy} isLoading={busy} onClick={() => void submit()}>
          {busy ? text.editor.applying : text.editor.apply}
        </Button>
        <Act words={text.form.cancel} onClick={onCancel} />
      </div>
      {yaml && (
        <Suspense fallback={<Loading words={text.editor.loading} />}>
          <Editor
            label={text.form.yaml}
            value={yaml}
            before={proposal?.before || null}
            markers={markers}
            schema={undefined}
            readOnly
            onChange={() => undefined}
            onApply={() => undefined}
          />
        </Suspense>
      )}
      {markers.length > 0 && <Findings markers={markers} />}
    </section>
  );
}

/** What a policy would have done to the requests of the last hour. */
function Tried({ proposal, observed }: { proposal: Proposal; observed: number }) {
  const words = text.observed;
  const total = proposal.refused.reduce((sum, one) => sum + one.count, 0);
  return (
    <>
      <p>{words.tried(observed, total)}</p>
      {total > 0 && (
        <PlainTable
          label={words.count}
          columns={[words.source, words.request, words.count, words.why]}
          rows={proposal.refused.map((one) => [
            `${one.source} ${one.method} ${one.path} ${one.reason}`,
            one.source,
            `${one.method} ${one.path}`,
            one.count,
            one.reason,
          ])}
        />
      )}
    </>
  );
}
