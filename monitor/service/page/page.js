// Shows what /api/v1/streams, /api/v1/incidents and the event stream say. Text goes in by textContent only.
import { curve } from "/static/curve.js";

const MODALITIES = { audio: "Voice", video: "Face", sync: "Lips ↔ voice" };
const STATES = { genuine: "Genuine", suspicious: "Suspicious", fake: "Fake", insufficient: "Not judged" };
const REASONS = {
  no_face: "No face to be seen.",
  face_too_small: "The face is too small.",
  face_blurred: "The face is blurred.",
  no_speech: "Nobody speaks.",
  no_audio_track: "There is no sound.",
  no_video_track: "There are no pictures.",
  sync_unknown: "Sound and picture have no common clock yet.",
  too_short: "Too little was seen or heard yet.",
  not_speaking: "Nobody in the picture seems to be speaking.",
};
const LIFE = {
  connecting: ["connecting", "wait"], live: ["live", "good"], stalled: ["stalled", "wait"], reconnecting: ["reconnecting", "wait"],
  failed: ["failed", "bad"], ended: ["ended", ""],
};
const HISTORY_S = 60;
const streams = new Map();
const incidents = new Map();
const cards = new Map();
const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

async function ask(path, options) {
  const response = await fetch(path, options);
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function refresh() {
  const [now, past] = await Promise.all([ask("/api/v1/streams"), ask("/api/v1/incidents")]);
  streams.clear();
  incidents.clear();
  for (const stream of now.streams) streams.set(stream.id, stream);
  for (const incident of past.incidents.reverse()) incidents.set(incident.incident_id, incident);
  byId("models").textContent = now.models.length
    ? "Models: " + now.models.map((model) => `${model.name} ${model.sha256.slice(0, 8)}`).join(" · ") + `, on ${now.models[0].provider.replace("ExecutionProvider", "")}`
    : "The models are being loaded.";
  if (!now.models.length) setTimeout(() => refresh().catch(() => {}), 1000);
  showStreams();
  showIncidents();
}

function showStreams() {
  const shelf = byId("streams");
  for (const [id, card] of cards) {
    if (!streams.has(id)) { card.remove(); cards.delete(id); }
  }
  shelf.querySelector(".empty")?.remove();
  if (!streams.size) shelf.append(nothingWatched());
  for (const stream of streams.values()) showStream(stream);
}

function nothingWatched() {
  return element("div", { class: "card empty" },
    element("h2", {}, "Nothing is being watched yet"),
    element("p", {}, "Publish a call by WHIP to ", element("code", {}, `${location.origin}/whip/NAME`),
      ", or name streams in the configuration."));
}

function showStream(stream) {
  const [word, tone] = LIFE[stream.state];
  const card = element("article", { class: "card stream" },
    element("header", {},
      element("h2", {}, stream.id),
      element("span", { class: "kind" }, stream.truth ? "demo call" : stream.kind),
      element("span", { class: "pill", "data-tone": tone }, word)),
    stream.reason && stream.state !== "live" ? element("p", { class: "why" }, stream.reason) : null,
    stream.state === "live" || stream.history.length
      ? element("div", { class: "gauges" }, ...Object.keys(MODALITIES).map((modality) => gauge(stream, modality)))
      : null);
  cards.get(stream.id)?.replaceWith(card);
  if (!cards.has(stream.id)) byId("streams").append(card);
  cards.set(stream.id, card);
  summarize();
}

function gauge(stream, modality) {
  const verdict = stream.verdicts[modality] ?? { state: "insufficient", reason: null, p_fake: null, coverage: 0, threshold: null };
  const judged = verdict.p_fake !== null && verdict.state !== "insufficient";
  const others = stream.tracks.filter((track) => track.modality === modality).length;
  const bar = element("div", { class: "bar" });
  if (judged) {
    const fill = element("i");
    fill.style.width = `${100 * verdict.p_fake}%`;
    bar.append(fill);
  }
  if (verdict.threshold !== null) {
    const mark = element("b", { title: `counts as fake from ${verdict.threshold.toFixed(2)}` });
    mark.style.left = `${100 * verdict.threshold}%`;
    bar.append(mark);
  }
  return element("section", { class: "gauge", "data-state": verdict.state },
    element("h3", {}, MODALITIES[modality], element("span", {}, others > 1 ? `${others} faces` : "")),
    element("div", { class: "verdict" },
      element("i", { class: "shape" }), STATES[verdict.state],
      element("output", { title: "calibrated probability of a forgery" }, judged ? verdict.p_fake.toFixed(2) : "")),
    bar,
    element("p", { class: "facts" }, facts(stream, verdict)),
    curve(stream, modality, HISTORY_S),
    element("div", { class: "axis" }, element("span", {}, "60 s ago"),
      stream.truth ? element("span", {}, "strip: what is really forged") : null, element("span", {}, "now")));
}

function facts(stream, verdict) {
  if (verdict.state === "insufficient") {
    if (verdict.reason) return REASONS[verdict.reason] ?? verdict.reason;
    return stream.state === "live" ? "Listening and looking." : "";
  }
  const said = [`Fake from ${verdict.threshold.toFixed(2)}; judged ${Math.round(100 * verdict.coverage)} % of the time.`];
  if (verdict.offset_ms !== null && verdict.modality === "sync") {
    const offset = Math.round(verdict.offset_ms);
    said.push(offset === 0 ? "Sound and lips are level." : `Sound is ${Math.abs(offset)} ms ${offset > 0 ? "late" : "early"}.`);
  }
  return said.join(" ");
}

function showIncidents() {
  const list = byId("incidents");
  const newest = [...incidents.values()].reverse();
  const open = newest.filter((incident) => incident.state === "open");
  byId("incident-count").textContent = newest.length ? `${open.length} open, ${newest.length} in all` : "";
  list.replaceChildren(...newest.slice(0, 50).map(incidentItem));
  if (!newest.length) list.append(element("li", { class: "card empty" }, "None so far."));
  summarize();
}

function incidentItem(incident) {
  const clock = (moment) => new Date(moment).toLocaleTimeString([], { hour12: false });
  const lasted = Math.max(0, incident.until_s - incident.since_s);
  const title = { audio: "Forged voice", video: "Forged face", sync: "Voice and lips do not match" }[incident.modality];
  const classes = ["card", "incident", incident.state, incident.acknowledged ? "seen" : ""].join(" ");
  const picture = incident.heatmap
    ? element("img", { src: `${incident.heatmap}?${incident.state}`, alt: "The face, and where the evidence of a forgery lies", loading: "lazy" })
    : null;
  const button = element("button", { type: "button" }, "Acknowledge");
  button.addEventListener("click", () => ask(`/api/v1/incidents/${encodeURIComponent(incident.incident_id)}/ack`, { method: "POST" }).catch(lost));
  return element("li", { class: classes },
    element("h3", {}, title, element("em", {}, incident.state === "open" ? "● open" : "closed")),
    element("p", { class: "when" }, `${incident.stream} · ${clock(incident.opened)}` + (incident.closed ? ` – ${clock(incident.closed)}` : "")
      + ` · ${lasted.toFixed(0)} s · peak ${incident.peak_p_fake.toFixed(2)}`),
    element("p", {}, incident.explanation),
    picture,
    element("footer", {}, incident.acknowledged ? element("span", {}, `✓ seen at ${clock(incident.acknowledged)}`) : button));
}

function summarize() {
  const live = [...streams.values()].filter((stream) => stream.state === "live").length;
  const open = [...incidents.values()].filter((incident) => incident.state === "open").length;
  byId("summary").textContent = `${live} of ${streams.size} live · ${open ? `${open} open` : "no open"} incident${open === 1 ? "" : "s"}`;
  document.title = open ? `(${open}) deepfake-monitor` : "deepfake-monitor";
}

function connection(word, tone) {
  byId("connection").textContent = word;
  byId("connection").dataset.tone = tone;
}

function lost() {
  connection("no connection", "bad");
}

function onVerdict(told) {
  const stream = streams.get(told.stream);
  if (!stream) return;
  if (told.verdict) stream.verdicts[told.modality] = told.verdict;
  stream.history.push(told);
  stream.history = stream.history.filter((bar) => told.time_s - bar.time_s <= HISTORY_S);
  stream.tracks = stream.tracks.filter((track) => track.modality !== told.modality || track.track_id !== told.track_id);
  if (told.track_id !== null) stream.tracks.push(told);
  stream.tracks = stream.tracks.filter((track) => told.time_s - track.time_s <= 5);
  changed.add(stream.id);
}

const changed = new Set();
setInterval(() => {
  for (const id of changed) if (streams.has(id)) showStream(streams.get(id));
  changed.clear();
}, 250);

const events = new EventSource("/api/v1/events");
const on = (kind, act) => events.addEventListener(kind, (event) => act(JSON.parse(event.data)));
events.onopen = () => { connection("connected", "good"); refresh().catch(lost); };
events.onerror = () => { lost(); ask("/api/v1/streams").catch(lost); };
on("stream", (stream) => { streams.set(stream.id, stream); showStreams(); });
on("gone", ({ id }) => { streams.delete(id); showStreams(); });
on("verdict", onVerdict);
on("incident", (incident) => { incidents.set(incident.incident_id, incident); showIncidents(); });
on("dropped", () => refresh().catch(lost));
