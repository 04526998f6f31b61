import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { ActionGroup, Form, FormGroup } from '@patternfly/react-core/dist/dynamic/components/Form';
import { TextArea } from '@patternfly/react-core/dist/dynamic/components/TextArea';
import { type FormEvent, useState } from 'react';
import { ApiProblem, login, useApi } from '../api/client';
import { text } from '../text';
import { Words } from './states';

export function Login() {
  const methods = useApi('/api/login/methods');
  const [token, setToken] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiProblem | null>(null);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    setBusy(true);
    login(token.trim())
      .catch((problem: unknown) => setError(problem instanceof ApiProblem ? problem : new ApiProblem(0, String(problem), '')))
      .finally(() => setBusy(false));
  };
  return (
    <main className="sc-login">
      <div className="sc-login-card">
        <h1 className="sc-brand">
          <img src="/sail.svg" alt="" width="28" height="28" />
          {text.product}
        </h1>
        <h2>{text.login.title}</h2>
        <p>
          <Words>{text.login.intro}</Words>
        </p>
        <p>{text.login.how}</p>
        <pre>{text.login.command}</pre>
        {error && (
          <Alert isInline variant="danger" title={error.message}>
            {error.fix && <Words>{error.fix}</Words>}
          </Alert>
        )}
        {methods.data?.openid && (
          <a className="pf-v6-c-button pf-m-primary" href="/api/openid/login">
            {text.login.openid}
          </a>
        )}
        <Form onSubmit={submit}>
          <FormGroup label={text.login.token} fieldId="token">
            <TextArea
              id="token"
              rows={4}
              value={token}
              onChange={(_, value) => setToken(value)}
              spellCheck={false}
              autoComplete="off"
              isRequired
            />
          </FormGroup>
          <ActionGroup>
            <Button type="submit" isLoading={busy} isDisabled={busy || !token.trim()}>
              {busy ? text.login.busy : text.login.submit}
            </Button>
          </ActionGroup>
        </Form>
      </div>
    </main>
  );
}
