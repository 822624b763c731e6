// The same call from a program.

/** `{ name: text }` for a call of `body` at `url`; `token` is put in where it is given. */
export function snippets(url, body, token) {
  const json = JSON.stringify(body);
  return {
    curl: curl(url, json, token),
    Python: python(url, body, token),
    TypeScript: typescript(url, body, token),
    n8n: n8n(url, body, token),
  };
}

function curl(url, json, token) {
  const header = token ? `'token: ${token}'` : '"token: $PRESENCE_TOKEN"';
  return `curl -X POST '${url}' \\
  -H ${header} \\
  -H 'content-type: application/json' \\
  -d '${json.replaceAll("'", "'\\''")}'`;
}

function python(url, body, token) {
  const value = token ? JSON.stringify(token) : 'os.environ["PRESENCE_TOKEN"]';
  return `${token ? '' : 'import os\n'}import requests

answer = requests.post(
    ${JSON.stringify(url)},
    headers={"token": ${value}},
    json=${JSON.stringify(body, null, 1).replace(/\n\s*/g, ' ')},
    timeout=10,
)
answer.raise_for_status()
print(answer.json()["message"])`;
}

function typescript(url, body, token) {
  return `const response = await fetch(${JSON.stringify(url)}, {
  method: "POST",
  headers: {
    token: ${token ? JSON.stringify(token) : 'process.env.PRESENCE_TOKEN!'},
    "content-type": "application/json",
  },
  body: JSON.stringify(${JSON.stringify(body, null, 1).replace(/\n\s*/g, ' ')}),
});
if (!response.ok) throw new Error(await response.text());`;
}

/** A node, to be pasted into a workflow. */
function n8n(url, body, token) {
  const node = {
    nodes: [
      {
        name: 'Show presence',
        type: 'n8n-nodes-base.httpRequest',
        typeVersion: 4.2,
        position: [0, 0],
        parameters: {
          method: 'POST',
          url,
          sendHeaders: true,
          headerParameters: { parameters: [{ name: 'token', value: token ?? '={{ $env.PRESENCE_TOKEN }}' }] },
          sendBody: true,
          specifyBody: 'json',
          jsonBody: JSON.stringify(body),
        },
      },
    ],
    connections: {},
  };
  return JSON.stringify(node, null, 2);
}
