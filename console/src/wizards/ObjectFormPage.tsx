/** A wizard of one object: `/config/new/FORM`, or `/config/KIND/NAMESPACE/NAME/form` for one that exists. */
import { useCallback, useEffect, useMemo, useState } from 'react';
import { Link, useNavigate, useParams, useSearchParams } from 'react-router';
import { post, useApi } from '../api/client';
import type { Field, Form } from '../api/contract.gen';
import { text } from '../config/text';
import { shared } from '../options';
import { Empty, Loading, Problem } from '../shell/states';
import { useOptions } from '../useOptions';
import { Preview } from './Preview';
import { Check } from '../shell/Act';
import { ChoiceField, LabelsField, ListField, NumberField, TextField } from './fields';

type Values = Record<string, unknown>;

export default function ObjectFormPage() {
  const { form: formName = '', kind = '', namespace = '', name = '' } = useParams();
  const forms = useApi('/api/forms', {}, 0, Boolean(formName));
  const existing = useApi('/api/forms/object', { kind, namespace, name }, 0, !formName);
  const [query] = useSearchParams();
  const error = forms.error ?? existing.error;
  if (error) return <Problem error={error} retry={() => void (formName ? forms : existing).refetch()} />;
  if (formName) {
    const form = forms.data?.find((one) => one.name === formName);
    if (!forms.data) return <Loading />;
    if (!form) return <Empty title={text.create.title} words={text.create.intro} />;
    return <ObjectForm key={formName} form={form} first={{ ...defaults(form), ...given(query) }} namespace="" name="" />;
  }
  if (!existing.data) return <Loading />;
  if (existing.data.problem)
    return (
      <Empty title={text.form.problem} words={existing.data.problem}>
        <Link to={`/config/${kind}/${namespace}/${name}${shared(query, { tab: 'yaml' })}`}>{text.form.openEditor}</Link>
      </Empty>
    );
  return <ObjectForm key={name} form={existing.data.form} first={existing.data.values as Values} namespace={namespace} name={name} />;
}

/** Values in the URL, of a link that knows some already. */
function given(query: URLSearchParams): Values {
  try {
    const values: unknown = JSON.parse(query.get('values') ?? '{}');
    return values && typeof values === 'object' && !Array.isArray(values) ? (values as Values) : {};
  } catch {
    return {};
  }
}

const defaults = (form: Form): Values =>
  Object.fromEntries(
    form.fields.filter((field) => field.default !== null && field.default !== undefined).map((field) => [field.name, field.default]),
  );

function ObjectForm({ form, first, namespace: of, name: given }: { form: Form; first: Values; namespace: string; name: string }) {
  const [options] = useOptions();
  const [query] = useSearchParams();
  const navigate = useNavigate();
  const readable = useApi('/api/namespaces', {}, 0, !given);
  const [values, setValues] = useState(first);
  const [name, setName] = useState(given);
  const [namespace, setNamespace] = useState(of || (options.namespaces[0] ?? ''));
  useEffect(() => {
    const names = readable.data?.map((one) => one.name) ?? [];
    if (!namespace && names.length) setNamespace(names.includes('default') ? 'default' : (names[0] ?? ''));
  }, [readable.data, namespace]);
  const complete = Boolean(name && namespace) && form.fields.every((field) => !field.required || isThere(values[field.name]));
  const propose = useCallback(
    () => post('/api/forms/object', { form: form.name, namespace, name, values }),
    [form.name, namespace, name, values],
  );
  const back = given ? `/config/${form.kind}/${of}/${given}${shared(query)}` : `/config${shared(query)}`;
  const namespaces = useMemo(
    () => [...new Set([namespace, ...(readable.data?.map((one) => one.name) ?? [])])].filter(Boolean),
    [readable.data, namespace],
  );
  return (
    <div className="sc-page">
      <nav aria-label={text.object.back}>
        <Link to={`/config${shared(query)}`}>{text.object.back}</Link>
      </nav>
      <h1>{form.title}</h1>
      <p>{form.help}</p>
      <div className="sc-wizard">
        <form className="sc-card" onSubmit={(event) => event.preventDefault()}>
          {!given && (
            <>
              <TextField label={text.form.name} value={name} required onChange={(next) => setName(next ?? '')} />
              <ChoiceField
                label={text.form.namespace}
                value={namespace}
                choices={namespaces.map((one) => [one, one])}
                onChange={(next) => setNamespace(next ?? '')}
              />
            </>
          )}
          {form.fields.map((field) => (
            <ValueField
              key={field.name}
              field={field}
              value={values[field.name]}
              onChange={(value) => setValues((now) => ({ ...now, [field.name]: value }))}
            />
          ))}
        </form>
        <Preview
          propose={complete ? propose : null}
          onApplied={() => void navigate(`/config/${form.kind}/${namespace}/${name}${shared(query)}`)}
          onCancel={() => void navigate(back)}
        />
      </div>
    </div>
  );
}

const isThere = (value: unknown): boolean =>
  value !== undefined && value !== null && value !== '' && (typeof value !== 'object' || Object.keys(value).length > 0);

function ValueField({ field, value, onChange }: { field: Field; value: unknown; onChange: (value: unknown) => void }) {
  const { label, required } = field;
  switch (field.type) {
    case 'number':
      return <NumberField label={label} help={field.help} required={required} value={(value as number | null) ?? null} onChange={onChange} />;
    case 'boolean':
      return <Check label={label} value={Boolean(value)} onChange={(checked) => onChange(checked || null)} />;
    case 'choice': {
      const choices = field.choices.map((one): [string, string] => [one, one]);
      const all = required ? choices : [['', text.form.none] as [string, string], ...choices];
      return <ChoiceField label={label} help={field.help} required={required} value={(value as string | null) ?? null} choices={all} onChange={onChange} />;
    }
    case 'list':
      return (
        <ListField
          label={label}
          help={`${field.help} ${text.form.list}`.trim()}
          required={required}
          value={(value as string[] | null) ?? []}
          onChange={onChange}
        />
      );
    case 'labels':
      return (
        <LabelsField
          label={label}
          help={`${field.help} ${text.form.labels}`.trim()}
          required={required}
          value={(value as Record<string, string> | null) ?? {}}
          onChange={onChange}
        />
      );
    default:
      return <TextField label={label} help={field.help} required={required} value={(value as string | null) ?? null} onChange={onChange} />;
  }
}
