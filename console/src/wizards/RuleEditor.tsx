/** One rule of HTTP: which requests, where to, and what happens to them on the way. */
import { Act } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import type { ReactNode } from 'react';
import type { Condition, HttpRule, Target } from '../api/contract.gen';
import { text } from '../config/text';
import { ChoiceField, NumberField, TextField } from './fields';
import { even, sum, target, withItem } from './values';

const words = text.traffic;

interface Props {
  number: number;
  rule: HttpRule;
  service: string;
  versions: string[];
  onChange: (rule: HttpRule) => void;
  onEarlier: (() => void) | null;
  onRemove: () => void;
}

export function RuleEditor({ number, rule, service, versions, onChange, onEarlier, onRemove }: Props) {
  const set = (part: Partial<HttpRule>): void => onChange({ ...rule, ...part });
  return (
    <fieldset className="sc-card sc-rule">
      <legend>{words.rule(number)}</legend>
      <div className="sc-filters sc-push">
        {onEarlier && <Act words={words.up} onClick={onEarlier} />}
        <Button variant="link" onClick={onRemove} aria-label={`${words.remove} ${words.rule(number)}`}>
          {words.remove}
        </Button>
      </div>
      <Matches matches={rule.matches} onChange={(matches) => set({ matches })} />
      <Targets targets={rule.targets} service={service} versions={versions} onChange={(targets) => set({ targets })} />
      <Section title={words.faults} open={rule.delay !== null || rule.abortStatus !== null}>
        <TextField
          label={words.delay}
          value={rule.delay}
          placeholder={words.seconds}
          onChange={(delay) => set({ delay, delayPercent: delay ? (rule.delayPercent ?? 100) : null })}
        />
        {rule.delay !== null && (
          <NumberField label={words.delayPercent} max={100} value={rule.delayPercent} onChange={(delayPercent) => set({ delayPercent })} />
        )}
        <NumberField
          label={words.abort}
          value={rule.abortStatus}
          max={599}
          onChange={(abortStatus) => set({ abortStatus, abortPercent: abortStatus === null ? null : (rule.abortPercent ?? 100) })}
        />
        {rule.abortStatus !== null && (
          <NumberField label={words.abortPercent} max={100} value={rule.abortPercent} onChange={(abortPercent) => set({ abortPercent })} />
        )}
      </Section>
      <Section title={words.limits} open={rule.timeout !== null || rule.attempts !== null}>
        <TextField label={words.timeout} value={rule.timeout} placeholder={words.seconds} onChange={(timeout) => set({ timeout })} />
        <NumberField label={words.attempts} value={rule.attempts} onChange={(attempts) => set({ attempts })} />
        {rule.attempts !== null && (
          <>
            <TextField
              label={words.perTry}
              value={rule.perTryTimeout}
              placeholder={words.seconds}
              onChange={(perTryTimeout) => set({ perTryTimeout })}
            />
            <TextField label={words.retryOn} value={rule.retryOn} placeholder="5xx" onChange={(retryOn) => set({ retryOn })} />
          </>
        )}
      </Section>
      <Section title={words.mirror} open={rule.mirror !== null}>
        <ChoiceField
          label={words.mirrorTo}
          value={rule.mirror === null ? null : (rule.mirror.subset || '*')}
          choices={[['', words.noMirror], ['*', words.anyVersion], ...versions.map((one) => [one, one] as const)]}
          onChange={(version) =>
            set({
              mirror: version === null ? null : target(rule.mirror?.host ?? service, version === '*' ? '' : version),
              mirrorPercent: version === null ? null : (rule.mirrorPercent ?? 100),
            })
          }
        />
        {rule.mirror !== null && (
          <NumberField label={words.mirrorPercent} max={100} value={rule.mirrorPercent} onChange={(mirrorPercent) => set({ mirrorPercent })} />
        )}
      </Section>
    </fieldset>
  );
}

export function Section({ title, open, children }: { title: string; open: boolean; children: ReactNode }) {
  return (
    <details open={open}>
      <summary>{title}</summary>
      <div className="sc-fields">{children}</div>
    </details>
  );
}

const PARTS = Object.entries(words.parts);
const NAMED = ['header', 'queryParam'];
const condition: Condition = { part: 'header', operator: 'exact', name: '', value: '' };

function Matches({ matches, onChange }: { matches: Condition[][]; onChange: (matches: Condition[][]) => void }) {
  return (
    <div role="group" aria-label={words.match}>
      <h3>{matches.length ? words.match : words.all}</h3>
      {matches.map((conditions, index) => (
        <div key={index} className="sc-alternative">
          {index > 0 && <strong>{words.or}</strong>}
          {conditions.map((one, at) => (
            <ConditionEditor
              key={at}
              condition={one}
              onChange={(next) => {
                const kept = withItem(conditions, at, next);
                onChange(withItem(matches, index, kept.length ? kept : null));
              }}
            />
          ))}
          <Act words={words.addCondition} onClick={() => onChange(withItem(matches, index, [...conditions, condition]))} />
        </div>
      ))}
      <Act words={matches.length ? words.addAlternative : words.addCondition} onClick={() => onChange([...matches, [condition]])} />
    </div>
  );
}

function ConditionEditor({ condition: one, onChange }: { condition: Condition; onChange: (condition: Condition | null) => void }) {
  const set = (part: Partial<Condition>): void => onChange({ ...one, ...part });
  const operators = Object.entries(words.operators).filter(([key]) => one.part === 'header' || !['present', 'absent'].includes(key));
  return (
    <div className="sc-fields">
      <ChoiceField
        label={words.part}
        value={one.part}
        choices={PARTS}
        onChange={(part) => set({ part: (part ?? 'header') as Condition['part'], operator: 'exact' })}
      />
      {NAMED.includes(one.part) && <TextField label={words.name} value={one.name} required onChange={(name) => set({ name: name ?? '' })} />}
      <ChoiceField
        label={words.operator}
        value={one.operator}
        choices={operators}
        onChange={(operator) => set({ operator: (operator ?? 'exact') as Condition['operator'] })}
      />
      {!['present', 'absent'].includes(one.operator) && (
        <TextField label={words.value} value={one.value} required onChange={(value) => set({ value: value ?? '' })} />
      )}
      <Act words={words.remove} onClick={() => onChange(null)} />
    </div>
  );
}

interface TargetsProps {
  targets: Target[];
  service: string;
  versions: string[];
  onChange: (targets: Target[]) => void;
}

export function Targets({ targets, service, versions, onChange }: TargetsProps) {
  const total = sum(targets);
  const several = targets.length > 1;
  return (
    <div role="group" aria-label={words.targets}>
      <h3>{words.targets}</h3>
      {targets.map((one, index) => {
        const known = [...new Set([...versions, one.subset])].filter(Boolean);
        const set = (part: Partial<Target>): void => onChange(withItem(targets, index, { ...one, ...part }));
        return (
          <div key={index} className="sc-fields">
            {one.host.split('.')[0] !== service && <TextField label={words.host} value={one.host} onChange={(host) => set({ host: host ?? '' })} />}
            <ChoiceField
              label={words.target}
              value={one.subset}
              choices={[['', words.anyVersion], ...known.map((version) => [version, version] as const)]}
              onChange={(subset) => set({ subset: subset ?? '' })}
            />
            {several && (
              <>
                <NumberField label={words.weight} max={100} value={one.weight} onChange={(weight) => set({ weight: weight ?? 0 })} />
                <input
                  type="range"
                  min={0}
                  max={100}
                  aria-label={`${words.weight} ${one.subset || one.host}`}
                  value={one.weight}
                  onChange={(event) => onChange(balanced(targets, index, Number(event.target.value)))}
                />
                <Act words={words.remove} onClick={() => onChange(withItem(targets, index, null))} />
              </>
            )}
          </div>
        );
      })}
      {several && total !== 100 && (
        <p className="sc-error" role="alert">
          {words.weights(total)}
        </p>
      )}
      <Button
        variant="link"
        onClick={() => onChange(even([...targets, target(targets[0]?.host ?? service, versions.find((v) => targets.every((t) => t.subset !== v)))]))}
      >
        {words.addTarget}
      </Button>
      {several && <Act words={words.even} onClick={() => onChange(even(targets))} />}
    </div>
  );
}

/** Shares with one changed: of two, the other has the rest. */
function balanced(targets: Target[], index: number, weight: number): Target[] {
  const pair = targets.length === 2;
  return targets.map((one, at) => (at === index ? { ...one, weight } : pair ? { ...one, weight: 100 - weight } : one));
}
