/** Inputs of the wizards. What is empty is not set: null. */
import { FormSelect, FormSelectOption } from '@patternfly/react-core/dist/dynamic/components/FormSelect';
import { type ReactNode, useEffect, useId, useState } from 'react';
import { labelsOf, listOf, textOfLabels } from './values';

interface Named {
  label: string;
  help?: string;
  required?: boolean;
}

function Labelled({ label, help, required, id, children }: Named & { id: string; children: ReactNode }) {
  return (
    <div className="sc-field">
      <label htmlFor={id}>
        {label}
        {required && <span aria-hidden> *</span>}
      </label>
      {children}
      {help && (
        <small id={`${id}-help`} className="sc-where">
          {help}
        </small>
      )}
    </div>
  );
}

interface TextProps extends Named {
  value: string | null;
  onChange: (value: string | null) => void;
  placeholder?: string;
}

export function TextField({ value, onChange, placeholder, ...named }: TextProps) {
  const id = useId();
  return (
    <Labelled id={id} {...named}>
      <input
        id={id}
        className="sc-input"
        value={value ?? ''}
        placeholder={placeholder}
        required={named.required}
        aria-describedby={named.help ? `${id}-help` : undefined}
        onChange={(event) => onChange(event.target.value || null)}
      />
    </Labelled>
  );
}

interface NumberProps extends Named {
  value: number | null;
  onChange: (value: number | null) => void;
  max?: number;
}

export function NumberField({ value, onChange, max, ...named }: NumberProps) {
  const id = useId();
  return (
    <Labelled id={id} {...named}>
      <input
        id={id}
        type="number"
        min={0}
        max={max}
        className="sc-input sc-number-input"
        value={value ?? ''}
        required={named.required}
        aria-describedby={named.help ? `${id}-help` : undefined}
        onChange={(event) => onChange(event.target.value === '' ? null : Number(event.target.value))}
      />
    </Labelled>
  );
}

interface ChoiceProps extends Named {
  value: string | null;
  /** Values and words; an empty value is not set. */
  choices: readonly (readonly [string, string])[];
  onChange: (value: string | null) => void;
}

export function ChoiceField({ value, choices, onChange, ...named }: ChoiceProps) {
  const id = useId();
  return (
    <Labelled id={id} {...named}>
      <FormSelect id={id} value={value ?? ''} onChange={(_, chosen) => onChange(chosen || null)}>
        {choices.map(([key, words]) => (
          <FormSelectOption key={key} value={key} label={words} />
        ))}
      </FormSelect>
    </Labelled>
  );
}

export function CheckField({ label, value, onChange }: { label: string; value: boolean; onChange: (value: boolean) => void }) {
  return (
    <label className="sc-check">
      <input type="checkbox" checked={value} onChange={(event) => onChange(event.target.checked)} />
      {label}
    </label>
  );
}

interface ParsedProps<Value> extends Named {
  value: Value;
  show: (value: Value) => string;
  parse: (typed: string) => Value;
  onChange: (value: Value) => void;
}

/** Text that stands for a value: what is typed stays as it is typed. */
function ParsedField<Value>({ value, show, parse, onChange, ...named }: ParsedProps<Value>) {
  const [typed, setTyped] = useState(() => show(value));
  useEffect(() => {
    setTyped((now) => (show(parse(now)) === show(value) ? now : show(value)));
  }, [value, show, parse]);
  return (
    <TextField
      {...named}
      value={typed}
      onChange={(next) => {
        setTyped(next ?? '');
        onChange(parse(next ?? ''));
      }}
    />
  );
}

const join = (value: readonly string[]): string => value.join(', ');

export function ListField(props: Named & { value: string[]; onChange: (value: string[]) => void }) {
  return <ParsedField {...props} show={join} parse={listOf} />;
}

export function LabelsField(props: Named & { value: Record<string, string>; onChange: (value: Record<string, string>) => void }) {
  return <ParsedField {...props} show={textOfLabels} parse={labelsOf} />;
}
