// Turns the code of a login link into a token, keeps it for this tab, and shows the transfers as
// they change. Names come from strangers: they are only ever set as text.

const word = document.getElementById("word");
const body = document.getElementById("rows");
const rows = new Map(); // id -> {row, cells}

const say = (text) => { word.textContent = text; };

async function logIn(code) {
  const answer = await fetch("/api/v1/sessions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code }),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.detail);
  sessionStorage.setItem("token", value.token);
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
}

function show(row) {
  const texts = [
    row.id,
    row.name,
    row.reason ? `${row.state}: ${row.reason}` : row.state,
    row.wanted ? `${Math.floor((100 * row.done) / row.wanted)} %` : "",
    row.rate_down ? `${bytes(row.rate_down)}/s` : "",
    row.rate_up ? `${bytes(row.rate_up)}/s` : "",
    row.peers || "",
  ];
  const { cells } = rows.get(row.id);
  texts.forEach((text, index) => {
    if (cells[index].textContent !== String(text)) cells[index].textContent = text;
  });
}

function put(row) {
  if (!rows.has(row.id)) {
    const line = document.createElement("tr");
    const cells = Array.from({ length: 7 }, () => line.appendChild(document.createElement("td")));
    body.append(line);
    rows.set(row.id, { line, cells });
  }
  rows.get(row.id).row = row;
  show(row);
}

const hear = {
  snapshot() { rows.clear(); body.replaceChildren(); },
  added(added) { added.forEach(put); },
  changed(changes) {
    for (const change of changes) {
      const known = rows.get(change.id);
      if (known) show(Object.assign(known.row, change));
    }
  },
  removed(ids) {
    for (const id of ids) { rows.get(id)?.line.remove(); rows.delete(id); }
  },
};

// An event stream by fetch: EventSource cannot send a token.
async function follow(token, seen) {
  const headers = { authorization: `Bearer ${token}` };
  if (seen.id) headers["last-event-id"] = seen.id;
  const answer = await fetch("/api/v1/events", { headers });
  if (!answer.ok) {
    const error = new Error((await answer.json()).detail);
    error.final = answer.status === 401;
    throw error;
  }
  document.querySelector("table").hidden = false;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const fields = new Map(message.split("\n").map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
      }));
      hear[fields.get("event")]?.(JSON.parse(fields.get("data")));
      if (fields.get("id")) seen.id = fields.get("id");
      say(rows.size === 1 ? "1 transfer" : `${rows.size} transfers`);
    }
  }
}

async function main() {
  const code = location.hash.slice(1);
  if (code) {
    history.replaceState(null, "", location.pathname);
    await logIn(code);
  }
  const token = sessionStorage.getItem("token");
  if (!token) throw new Error("Open the link that `starling login` prints.");
  const seen = {};
  for (;;) {
    try {
      await follow(token, seen);
    } catch (error) {
      if (error.final) { sessionStorage.removeItem("token"); throw error; }
    }
    say("The daemon is not there. Looking again …");
    await new Promise((again) => setTimeout(again, 2000));
  }
}

main().catch((error) => say(error.message));
