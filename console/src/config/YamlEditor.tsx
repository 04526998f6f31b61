/** The editor with what belongs to it: findings, the change, trying and applying. */
import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Suspense, lazy, useEffect, useState } from 'react';
import { useApi } from '../api/client';
import type { Applied, Marker } from '../api/contract.gen';
import { Loading } from '../shell/states';
import { apply } from './changes';
import { Act } from '../shell/Act';
import type { Schema } from './completion';
import { text } from './text';
import { useMarkers } from './useMarkers';

const Editor = lazy(() => import('./Editor'));

interface Props {
  name: string;
  kind: string;
  /** The text as it is in the cluster, or to begin with. */
  original: string;
  /** Whether nothing of it is in the cluster yet. */
  isNew: boolean;
  markers: Marker[];
  mayWrite: boolean;
  onApplied: (applied: Applied) => void;
}

export default function YamlEditor({ name, kind, original, isNew, markers: first, mayWrite, onApplied }: Props) {
  const [base, setBase] = useState(original);
  const [value, setValue] = useState(original);
  const [diff, setDiff] = useState(false);
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<{ yaml: string; markers: Marker[] } | null>(null);
  const [accepted, setAccepted] = useState('');
  const schema = useApi('/api/config/schema', { kind }, 0, Boolean(kind));
  const found = useMarkers(value, first);
  const markers = refused?.yaml === value ? [...found, ...refused.markers] : found;
  const changed = isNew || value !== base;
  const newer = original !== base;
  const take = (yaml: string): void => {
    setBase(yaml);
    setValue(yaml);
  };
  useEffect(() => {
    if (newer && value === base) take(original);
  }, [newer, value, base, original]);
  const send = async (dryRun: boolean): Promise<void> => {
    if (!mayWrite || !changed) return;
    setBusy(true);
    setAccepted('');
    const applied = await apply({ yaml: value, delete: [], dryRun });
    setBusy(false);
    if (!applied) return;
    if (!applied.done.length) {
      const known = new Set(found.map((marker) => marker.text));
      setRefused({ yaml: value, markers: applied.markers.filter((marker) => !known.has(marker.text)) });
    } else if (dryRun) {
      setAccepted(value);
    } else {
      take(applied.yaml);
      setDiff(false);
      onApplied(applied);
    }
  };
  const errors = markers.filter((marker) => marker.severity === 'Error').length;
  return (
    <div className="sc-yaml">
      <div className="sc-filters">
        <Button isDisabled={!mayWrite || !changed || busy} isLoading={busy} onClick={() => void send(false)}>
          {busy ? text.editor.applying : text.editor.apply}
        </Button>
        <Button variant="secondary" isDisabled={!mayWrite || !changed || busy} onClick={() => void send(true)}>
          {text.editor.check}
        </Button>
        {!isNew && (
          <>
            <Button variant="secondary" isDisabled={!changed} aria-pressed={diff} onClick={() => setDiff(!diff)}>
              {diff ? text.editor.edit : text.editor.diff}
            </Button>
            <Button variant="link" isDisabled={!changed} onClick={() => setValue(base)}>
              {text.editor.reload}
            </Button>
          </>
        )}
        <span className="sc-where">{mayWrite ? text.editor.keys : text.object.viewOnly}</span>
      </div>
      {newer && (
        <Alert isInline variant="warning" title={text.editor.newer}>
          <Act words={text.editor.takeNewer} onClick={() => take(original)} />
        </Alert>
      )}
      {refused?.yaml === value && errors > 0 && <Alert isInline variant="danger" title={text.editor.wrong(errors)} />}
      {accepted === value && changed && <Alert isInline variant="success" title={text.editor.tried} />}
      <Suspense fallback={<Loading words={text.editor.loading} />}>
        <Editor
          label={text.editor.label(name)}
          value={value}
          before={diff ? base : null}
          markers={markers}
          schema={schema.data as Schema | undefined}
          readOnly={!mayWrite}
          onChange={setValue}
          onApply={() => void send(false)}
        />
      </Suspense>
      <Findings markers={markers} />
    </div>
  );
}

/** The findings as a list, for those who do not see the markers. */
export function Findings({ markers }: { markers: Marker[] }) {
  return (
    <section className="sc-card" aria-label={text.object.findings}>
      <h2>{text.object.findings}</h2>
      {markers.length === 0 && <p>{text.object.noFindings}</p>}
      <ul className="sc-plain" aria-live="polite">
        {markers.map((marker) => (
          <li key={`${marker.line} ${marker.code} ${marker.path} ${marker.text}`} className={`sc-finding-${marker.severity.toLowerCase()}`}>
            <strong>
              {marker.severity} {text.object.line(marker.line)}
            </strong>{' '}
            {marker.path && <code>{marker.path}</code>} {marker.text} {marker.fix} <span className="sc-where">[{marker.code}]</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
