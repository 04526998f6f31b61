/** A new object: by a form, or as YAML with a skeleton of its kind. */
import { Card } from '../pages/Card';
import { Select } from '../shell/Act';
import { useMemo } from 'react';
import { Link, useNavigate, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import { shared } from '../options';
import { Loading, Problem } from '../shell/states';
import { useOptions } from '../useOptions';
import YamlEditor from './YamlEditor';
import { text } from './text';

const KINDS: Record<string, [group: string, spec: string]> = {
  VirtualService: ['networking.istio.io/v1', 'hosts:\n  - \n  http:\n  - route:\n    - destination:\n        host: '],
  DestinationRule: ['networking.istio.io/v1', 'host: '],
  Gateway: ['networking.istio.io/v1', 'selector:\n    istio: ingressgateway\n  servers: []'],
  ServiceEntry: ['networking.istio.io/v1', 'hosts:\n  - \n  ports: []'],
  Sidecar: ['networking.istio.io/v1', 'egress:\n  - hosts:\n    - ./*'],
  EnvoyFilter: ['networking.istio.io/v1alpha3', 'configPatches: []'],
  PeerAuthentication: ['security.istio.io/v1', 'mtls:\n    mode: STRICT'],
  RequestAuthentication: ['security.istio.io/v1', 'jwtRules: []'],
  AuthorizationPolicy: ['security.istio.io/v1', 'action: ALLOW\n  rules: []'],
  Telemetry: ['telemetry.istio.io/v1', 'metrics: []'],
  RateLimit: ['sailcloth.io/v1alpha1', 'http:\n  - limit:\n      requests: 100\n      per: 1s'],
};

export default function CreatePage() {
  const [options, change] = useOptions();
  const [query] = useSearchParams();
  const navigate = useNavigate();
  const forms = useApi('/api/forms');
  const kind = KINDS[options.kind] ? options.kind : 'VirtualService';
  const skeleton = useMemo(() => {
    const [group, spec] = KINDS[kind] ?? ['', ''];
    const namespace = options.namespaces[0] ?? 'default';
    return `apiVersion: ${group}\nkind: ${kind}\nmetadata:\n  name: \n  namespace: ${namespace}\nspec:\n  ${spec}\n`;
  }, [kind, options.namespaces]);
  return (
    <div className="sc-page">
      <nav aria-label={text.object.back}>
        <Link to={`/config${shared(query)}`}>{text.object.back}</Link>
      </nav>
      <h1>{text.create.title}</h1>
      <Card title={text.create.forms}>
        {!forms.data && (forms.error ? <Problem error={forms.error} retry={() => void forms.refetch()} /> : <Loading />)}
        <ul className="sc-plain sc-forms">
          <li>
            <Link to={`/services${shared(query)}`}>{text.create.routing}</Link>
            <div className="sc-where">{text.create.routingHelp}</div>
          </li>
          <li>
            <Link to={`/config/new/observed${shared(query)}`}>{text.observed.open}</Link>
            <div className="sc-where">{text.observed.help}</div>
          </li>
          {forms.data?.map((form) => (
            <li key={form.name}>
              <Link to={`/config/new/${form.name}${shared(query)}`}>
                {form.title} ({form.kind})
              </Link>
              <div className="sc-where">{form.help}</div>
            </li>
          ))}
        </ul>
      </Card>
      <Card title={text.create.yaml}>
        <div className="sc-filters">
          <Select
            label={text.create.kind}
            value={kind}
            choices={Object.keys(KINDS).map((one) => [one, one])}
            onChange={(next) => change({ kind: next })}
          />
        </div>
        <YamlEditor
          key={kind}
          name={kind}
          kind={kind}
          original={skeleton}
          isNew
          markers={[]}
          mayWrite
          onApplied={() => void navigate(`/config${shared(query)}`)}
        />
      </Card>
    </div>
  );
}
