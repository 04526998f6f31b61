/** Inputs of the wizards. What is empty is not set: null. */
import { type ReactNode, useEffect, useId, useState } from 'react';
import { Select } from '../shell/Act';
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
  type?: 'number';
  max?: number;
}

export function TextField({ value, onChange, placeholder, type, max, ...named }: TextProps) {
  const id = useId();
  return (
    <Labelled id={id} {...named}>
      <input
        id={id}
        type={type}
        min={type && 0}
        max={max}
        className={type ? 'sc-input sc-number-input' : 'sc-input'}
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

export function NumberField({ value, onChange, ...rest }: NumberProps) {
  return <TextField {...rest} type="number" value={value === null ? null : String(value)} onChange={(typed) => onChange(typed === null ? null : Number(typed))} />;
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
      <Select id={id} value={value ?? ''} choices={choices} onChange={(chosen) => onChange(chosen || null)} />
    </Labelled>
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
