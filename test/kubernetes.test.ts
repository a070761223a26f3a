// The manifests of deploy/kubernetes, checked without a cluster.

import { globSync, readFileSync } from 'node:fs'
import { BlockList, isIPv6 } from 'node:net'
import { basename, join } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { parse, parseAllDocuments } from 'yaml'
import { readConfig } from '../src/config/environment.ts'
import { isMetadataHost } from '../src/config/hosts.ts'
import type { Json, JsonObject } from '../src/json.ts'

const ROOT = join(import.meta.dirname, '../deploy/kubernetes')
const FILES = globSync('**/*.yaml', { cwd: ROOT, exclude: ['files/**'] })
const MODULES: Record<string, string> = { 'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator/' }
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

type Kustomization = Readonly<{
  resources: readonly string[]
  components?: readonly string[]
  patches?: readonly { path: string }[]
  configMapGenerator?: readonly { name: string, files?: string[], literals?: string[], options?: JsonObject }[]
  secretGenerator?: readonly { name: string, files: string[], options?: JsonObject }[]
}>
type Container = Readonly<{
  image: string
  env?: readonly { name: string, value: string }[]
  ports: readonly { name: string, containerPort: number }[]
  securityContext: JsonObject
  volumeMounts: readonly { name: string, mountPath: string, subPath?: string }[]
} & Record<'readinessProbe' | 'livenessProbe' | 'startupProbe', { httpGet: { path: string, port: string } }>>
type Pod = Readonly<{
  containers: readonly Container[]
  securityContext: JsonObject
  terminationGracePeriodSeconds: number
  volumes?: readonly JsonObject[]
}>
type Manifest = Readonly<{
  apiVersion: string
  kind: string
  metadata: { name: string, labels?: Record<string, string> }
  spec: { template: { metadata: { labels: Record<string, string> }, spec: Pod } } & Record<string, Json>
}>

type Egress = Readonly<{
  ports: readonly JsonObject[]
  to: readonly { namespaceSelector?: JsonObject, ipBlock?: { cidr: string, except?: string[] } }[]
}>

const isKustomization = (path: string) => basename(path) === 'kustomization.yaml'
const kustomization = (folder: string) => parse(read(join(folder, 'kustomization.yaml'))) as Kustomization
const ROOT_FILE = kustomization('.')
/** The components of kustomization.yaml, including those in comments. */
const COMPONENTS = [...read('kustomization.yaml').matchAll(/^ {2}(?:# )?- (\w+)$/gm)].map(([, name]) => String(name))
const FOLDERS = ['base', ...COMPONENTS]
const PATCHES = FOLDERS.flatMap((folder) => (kustomization(folder).patches ?? []).map(({ path }) => join(folder, path)))
const MANIFESTS = FILES.filter((path) => !isKustomization(path) && !PATCHES.includes(path)).flatMap(
  (path) => parseAllDocuments(read(path)).map((document) => document.toJS() as Manifest)
)
const find = (kind: string, name = 'ephemint') => MANIFESTS.find(
  (manifest) => manifest.kind === kind && manifest.metadata.name === name
) as Manifest
const pods = MANIFESTS.filter(({ spec }) => spec?.template !== undefined)
const moduleOf = ({ apiVersion, kind }: Manifest) =>
  `${MODULES[apiVersion] ?? 'kubernetes-models/'}${apiVersion}/${kind}`

t.test('operate: `kubectl apply -k` takes every file, and generates what is mounted', async (t) => {
  const listed = FOLDERS.flatMap((folder) => kustomization(folder).resources.map((path) => join(folder, path)))
  t.same([...listed, ...PATCHES].sort(), FILES.filter((path) => !isKustomization(path)).sort())
  const roots = ['.', ...FOLDERS].map((folder) => join(folder, 'kustomization.yaml'))
  t.same(roots.sort(), FILES.filter(isKustomization).sort())
  t.same(ROOT_FILE.resources, ['base'])
  t.same(ROOT_FILE.components, ['valkey'], 'what every cluster has')
  const [settings, policy] = ROOT_FILE.configMapGenerator ?? []
  const [secret] = ROOT_FILE.secretGenerator ?? []
  t.same([settings?.name, policy?.name, secret?.name], ['settings', 'policy', 'ephemint'])
  t.same(settings?.options, undefined, 'changed settings replace the pods')
  for (const generator of [policy, secret]) t.same(generator?.options, { disableNameSuffixHash: true })
  t.match(read('files/.gitignore'), /^\*\n!\.gitignore$/m)
})

t.test('operate: every manifest is one of its kind', async (t) => {
  const kinds = [
    'Deployment', 'HorizontalPodAutoscaler', 'Ingress', 'Namespace', 'NetworkPolicy', 'PodDisruptionBudget',
    'PodMonitor', 'Service', 'StatefulSet'
  ]
  t.same([...new Set(MANIFESTS.map(({ kind }) => kind))].sort(), kinds)
  const { Deployment } = await import('kubernetes-models/apps/v1')
  t.throws(() => new Deployment({ spec: { replicas: 'two' } } as never).validate(), /must be integer/, 'it can fail')
  for (const manifest of MANIFESTS) {
    const { [manifest.kind]: Model } = await import(moduleOf(manifest))
    t.doesNotThrow(() => new Model(manifest).validate(), `${manifest.kind} ${manifest.metadata.name}`)
  }
})

t.test('operate: no manifest has a field that its kind does not know', async (t) => {
  const found = unknownFields([...MANIFESTS, { ...find('Service'), spek: 1 } as never])
  t.match(found[0], /"spek"' does not\s+exist/)
  t.equal(found.length, 1, 'no other')
})

t.test('operate: every pod fits the restricted profile, which the namespace enforces', async (t) => {
  t.equal(find('Namespace').metadata.labels?.['pod-security.kubernetes.io/enforce'], 'restricted')
  t.same(pods.map(({ kind }) => kind).sort(), ['Deployment', 'StatefulSet'])
  for (const { spec: { template: { spec: pod } } } of pods) {
    t.match(pod.securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
    t.match(pod, { automountServiceAccountToken: false })
    t.notOk('hostNetwork' in pod || 'hostPID' in pod || 'hostIPC' in pod)
    const volumes = (pod.volumes ?? []).flatMap((volume) => Object.keys(volume).filter((key) => key !== 'name'))
    t.ok(volumes.every((type) => ['secret', 'configMap'].includes(type)))
    for (const { securityContext } of pod.containers) {
      t.match(securityContext, {
        allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'], add: undefined }
      })
    }
  }
})

t.test('operate: the settings are what the service reads, and probes ask what it answers', async (t) => {
  const { spec: pod } = find('Deployment').spec.template
  const [container] = pod.containers as [Container]
  const dir = t.testdir({ openai_api_key: 'sk-example', safety_identifier_secret: 's'.repeat(32) })
  const [settings] = ROOT_FILE.configMapGenerator ?? []
  const literals = (settings?.literals ?? []).map((literal) => literal.split(/=(.*)/, 2) as [string, string])
  const patched = PATCHES.flatMap((path) => (parse(read(path)) as Manifest).spec.template.spec.containers)
  t.same(patched.map(({ name }: Container & { name?: string }) => name), ['ephemint'])
  const own = [container, ...patched].flatMap(({ env = [] }) => env.map(({ name, value }) => [name, value] as const))
  const here = (value: string) => value.replace('/run/secrets/ephemint', dir)
  const env = Object.fromEntries([...literals, ...own].map(([name, value]) => [name, here(value)]))
  t.match(readConfig(env), {
    policyFile: '/etc/ephemint/ephemint.yaml', redis: { host: 'valkey' }, ops: { port: 9090 }
  })
  for (const probe of ['readinessProbe', 'livenessProbe', 'startupProbe'] as const) {
    t.match(container[probe].httpGet, { path: probe === 'readinessProbe' ? '/readyz' : '/livez', port: 'ops' })
  }
  t.ok(pod.terminationGracePeriodSeconds > 25)
  t.same(container.ports.map(({ name, containerPort }) => [name, containerPort]), [['http', 8080], ['ops', 9090]])
  t.same(container.volumeMounts.filter(({ subPath }) => subPath !== undefined), [], 'files of a subPath never change')
})

t.test('operate O18: only the ingress may state addresses, and only Prometheus reaches the port 9090', async (t) => {
  const { spec } = find('NetworkPolicy')
  const of = (namespace: string, port: string) => ({
    from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } }],
    ports: [{ protocol: 'TCP', port }]
  })
  t.same(spec.ingress, [of('ingress-nginx', 'http'), of('monitoring', 'ops')])
  t.same(spec.policyTypes, ['Ingress', 'Egress'])
  const [, proxy = ''] = /TRUST_PROXY=(\S+)/.exec(read('kustomization.yaml')) ?? []
  t.ok(Number(proxy.split('/')[1]) >= 24, 'a range of some nodes\' pods, not of the cluster')
  t.same(find('Service').spec.ports, [{ name: 'http', port: 80, targetPort: 'http' }])
})

t.test('operate: replicas reach DNS, and port 443 by IPv4 and IPv6, but no metadata service', async (t) => {
  const [dns, https] = find('NetworkPolicy').spec.egress as unknown as [Egress, Egress]
  t.same(dns.ports, ['UDP', 'TCP'].map((protocol) => ({ protocol, port: 53 })))
  t.match(dns.to, [{ namespaceSelector: {} }, { ipBlock: { cidr: '169.254.20.10/32' } }], 'and a cache on the node')
  t.same(https.ports, [{ protocol: 'TCP', port: 443 }])
  t.same(https.to.map(({ ipBlock }) => ipBlock?.cidr), ['0.0.0.0/0', '::/0'])
  const excepted = new BlockList()
  for (const range of https.to.flatMap(({ ipBlock }) => ipBlock?.except ?? [])) {
    const [address = '', bits] = range.split('/')
    excepted.addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4')
  }
  for (const address of ['169.254.169.254', '169.254.170.2', 'fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254']) {
    t.ok(isMetadataHost(address) && excepted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'), address)
  }
})

t.test('operate: selectors find the pods, and every reference exists', async (t) => {
  for (const { kind, metadata, spec } of MANIFESTS.filter(({ spec }) => spec !== undefined)) {
    const selector = spec.podSelector ?? spec.selector
    if (selector === undefined) continue
    const wanted = (selector as JsonObject).matchLabels ?? selector
    const { app } = wanted as JsonObject
    t.ok(pods.some(({ spec: { template } }) => template.metadata.labels.app === app), `${kind} ${metadata.name}`)
  }
  t.match(find('HorizontalPodAutoscaler').spec.scaleTargetRef, { kind: 'Deployment', name: 'ephemint' })
  t.notOk('replicas' in find('Deployment').spec, 'the autoscaler sets it')
  t.match(JSON.stringify(find('Ingress').spec), '"service":{"name":"ephemint","port":{"name":"http"}}')
  t.same(find('StatefulSet', 'valkey').spec.serviceName, find('Service', 'valkey').metadata.name)
})

/** The unknown fields of manifests, found by TypeScript with the types of the models. */
function unknownFields (manifests: readonly Manifest[]): string[] {
  const path = join(import.meta.dirname, 'manifests.ts')
  const text = manifests.map((manifest, i) =>
    `import type { I${manifest.kind} as T${i} } from '${moduleOf(manifest)}'\n` +
      `export const m${i}: T${i} = ${JSON.stringify(manifest)}\n`).join('')
  const options = {
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    types: [],
    target: ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext
  }
  const host = ts.createCompilerHost(options)
  const { readFile, fileExists } = host
  host.readFile = (file) => file === path ? text : readFile(file)
  host.fileExists = (file) => file === path || fileExists(file)
  const program = ts.createProgram([path], options, host)
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}
