// Drives the n8n community node for Evolution API without n8n: commands come as lines of JSON on standard input,
// what came of each goes out as a line of JSON.
//
// usage: node n8n.cjs BASE_URL
//
// The node is run as n8n runs it, by its `execute`: what it asks of n8n (its parameters, its credentials, a
// request) is answered here, the request by real HTTP. A parameter that a command leaves out has the default that
// the node's own form shows.

const { createRequire } = require('node:module')
const { createInterface } = require('node:readline')
const { join } = require('node:path')

const [url] = process.argv.slice(2)
const fromPackages = createRequire(join(process.cwd(), 'package.json'))
const dist = 'n8n-nodes-evolution-api/dist'
const { EvolutionApi: Node } = fromPackages(`${dist}/nodes/EvolutionApi/EvolutionApi.node.js`)
const { EvolutionApi: Credentials } = fromPackages(`${dist}/credentials/EvolutionApi.credentials.js`)
const axios = fromPackages('axios')

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

// What the commands are called in the node's form.
const OPERATIONS = {
  send_presence: ['chat-api', 'send-presence'],
  set_presence: ['instances-api', 'set-presence'],
  fetch_instances: ['instances-api', 'fetch-instances'],
}

// The older of n8n's two ways to make a request, which this node uses: the answer's body, or an error that quotes it.
async function request({ method = 'GET', uri, headers, body, qs, json }) {
  const accept = json ? { accept: 'application/json' } : {}
  const answer = await axios({
    method,
    url: uri,
    headers: { ...accept, ...headers },
    data: body,
    params: qs,
    proxy: false,
    validateStatus: () => true,
  })
  if (answer.status < 200 || answer.status > 299) {
    const error = new Error(`${answer.status} - ${JSON.stringify(answer.data)}`)
    error.statusCode = answer.status
    throw error
  }
  return answer.data
}

function parameter(node, given, name) {
  if (name in given) return given[name]
  const shown = (property) =>
    Object.entries(property.displayOptions?.show ?? {}).every(([key, values]) => values.includes(given[key]))
  const property = node.description.properties.find((property) => property.name === name && shown(property))
  if (!property) throw new Error(`Could not get parameter "${name}"`)
  return property.default
}

async function execute(operation, key, given) {
  const node = new Node()
  const [resource, name] = OPERATIONS[operation]
  const parameters = { ...given, resource, operation: name }
  const context = {
    getNodeParameter: (name) => parameter(node, parameters, name),
    getCredentials: async () => ({ 'server-url': url, apikey: key }),
    getNode: () => ({ id: '1', name: 'Evolution API', type: 'evolutionApi', typeVersion: 1, position: [0, 0], parameters }),
    getInputData: () => [{ json: {} }],
    continueOnFail: () => false,
    helpers: {
      request,
      returnJsonArray: (data) => [data].flat().map((item) => (item.json ? item : { json: item })),
    },
  }
  const [[item]] = await node.execute.call(context)
  return item.json
}

// The request that n8n makes when somebody saves the credentials; it looks at the status alone.
async function testCredentials(key) {
  const credentials = { 'server-url': url, apikey: key }
  const resolve = (text) =>
    text.startsWith('={{') ? new Function('$credentials', `return ${text.slice(3, -2)}`)(credentials) : text
  const resolveAll = (fields) => Object.fromEntries(Object.entries(fields).map(([name, text]) => [name, resolve(text)]))
  const { authenticate, test } = new Credentials()
  const headers = { ...resolveAll(authenticate.properties.headers), ...resolveAll(test.request.headers) }
  const uri = resolve(test.request.baseURL) + resolve(test.request.url)
  return request({ method: test.request.method, uri, headers })
}

async function main() {
  say({ event: 'ready' })
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: operation, key, instance, number, ...others } = JSON.parse(line)
    if (operation === 'quit') process.exit()
    const given = { instanceName: instance, remoteJid: number, ...others }
    for (const name of Object.keys(given)) if (given[name] === undefined) delete given[name]
    try {
      const value = operation === 'test_credentials' ? await testCredentials(key) : await execute(operation, key, given)
      say({ event: 'done', value })
    } catch (error) {
      say({ event: 'done', refused: `${error.constructor.name}: ${error.message} ${error.description ?? ''}` })
    }
  }
}

main()
