// What runs when a pad is on the page. gradio hands in: element, props, trigger, watch.
const STEP = 0.05, LEAP = 0.2;  // arrow keys, without and with Shift
const EXTENT = 1.2;             // half of the plane's width, in units of valence
const THROTTLE = 100;           // ms between two `input` events
const NEAR = 0.3;               // how far an emotion may be to be named
const BESIDE = 5, AROUND = 16;  // pixels from a dot to its name, and where the marker is between them

const plane = element.querySelector(".em-pad-plane");
const names = element.querySelector(".em-pad-names");
const marker = element.querySelector(".em-pad-point");
const stem = element.querySelector(".em-pad-stem");
const here = element.querySelector(".em-pad-near");
const words = element.querySelector(".em-pad-words");
const help = element.querySelector(".em-pad-help");

let point = { valence: 0, arousal: 0 };
let written = [];  // boxes of what is on the plane, those of names with the name
let dragging = false, keyed = false, sentAt = 0, timer = null;

const signed = (x) => x.toFixed(2).replace("-", "−");
const percent = (x) => `${(50 * (1 + x / EXTENT)).toFixed(3)}%`;

function clipped(valence, arousal) {
  const distance = Math.hypot(valence, arousal);
  const round = distance > 1 ? (x) => Math.trunc((100 * x) / distance) / 100 : (x) => Math.round(100 * x) / 100;
  return { valence: round(valence) + 0, arousal: round(arousal) + 0 };
}

// Without ratings an emotion has no place here.
const emotions = () => (props.emotions ?? []).filter((e) => Number.isFinite(e.valence) && Number.isFinite(e.arousal));

function nearest() {
  let best = null, least = NEAR;
  for (const each of emotions()) {
    const away = Math.hypot(each.valence - point.valence, each.arousal - point.arousal);
    if (away < least) [best, least] = [each, away];
  }
  return best;
}

function draw() {
  const { valence, arousal } = point;
  const dose = Math.min(100, Math.round(100 * Math.hypot(valence, arousal)));
  const near = dose ? nearest() : null;
  marker.style.left = percent(valence);
  marker.style.top = percent(-arousal);
  stem.setAttribute("x2", valence);
  stem.setAttribute("y2", -arousal);
  const place = near ? `near ${near.name}, ` : "";
  plane.setAttribute("aria-valuenow", dose);
  plane.setAttribute("aria-valuetext", dose
    ? `valence ${signed(valence)}, arousal ${signed(arousal)}: ${place}${dose} % of the full dose` : "neutral");
  words.textContent = dose
    ? `${valence < 0 ? "unpleasant" : "pleasant"} ${signed(valence)} · ${arousal < 0 ? "still" : "stirred up"} ` +
      `${signed(arousal)} · ${dose} % dose${near ? ` · near ${near.name}` : ""}`
    : "Neutral: the model as it is";
  say(near);
}

// The nearest emotion's name, above everything and clear of the marker, where it covers least.
function say(near) {
  for (const name of names.querySelectorAll(".em-pad-name")) name.classList.toggle("em-said", name.textContent === near?.name);
  here.textContent = near?.name ?? "";
  const { width, height } = plane.getBoundingClientRect();
  if (!near || !width) return;
  const spot = ({ valence, arousal }) => [(width / 2) * (1 + valence / EXTENT), (height / 2) * (1 - arousal / EXTENT)];
  const [x, y] = spot(point), r = marker.offsetWidth / 2 + 2;
  const hand = { left: x - r, right: x + r, top: y - r, bottom: y + r };
  const covers = (side) => 100 * meets(side, hand) +
    written.filter((other) => other.name !== near.name && meets(side, other)).length;
  const all = [...sides(...spot(near), here, BESIDE), ...sides(...spot(near), here, AROUND)];
  const fit = all.filter((side) => inside(side, width, height));
  const { left, top } = (fit.length ? fit : all)
    .reduce((best, side) => covers(side) < covers(best) ? side : best);
  here.style.left = `${left}px`;
  here.style.top = `${top}px`;
}

const meets = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const inside = (a, width, height) => a.left >= 0 && a.right <= width && a.top >= 0 && a.bottom <= height;

// Where a name may stand beside a point.
function sides(x, y, node, gap) {
  const w = node.offsetWidth, h = node.offsetHeight;
  return [[x + gap, y - h / 2], [x - gap - w, y - h / 2], [x - w / 2, y - gap - h + 2], [x - w / 2, y + gap - 2],
          [x + 2, y - gap - h + 3], [x + 2, y + gap - 3], [x - w - 2, y - gap - h + 3], [x - w - 2, y + gap - 3]]
    .map(([left, top]) => ({ left, top, right: left + w, bottom: top + h }));
}

// Names in order of importance: each at the first side of its dot where it covers nothing, or nowhere.
function write() {
  names.replaceChildren();
  const frame = plane.getBoundingClientRect();
  if (!frame.width) return;
  const box = (node) => {
    const r = node.getBoundingClientRect();
    return { left: r.left - frame.left, right: r.right - frame.left, top: r.top - frame.top, bottom: r.bottom - frame.top };
  };
  written = [...element.querySelectorAll(".em-pad-fixed span")].map(box);
  const shown = emotions().filter((e) => Math.max(Math.abs(e.valence), Math.abs(e.arousal)) <= EXTENT);
  const dots = shown.map((each) => {
    const x = (frame.width / 2) * (1 + each.valence / EXTENT), y = (frame.height / 2) * (1 - each.arousal / EXTENT);
    const dot = document.createElement("i");
    dot.style.left = `${x}px`;
    dot.style.top = `${y}px`;
    names.append(dot);
    written.push({ left: x - 3, right: x + 3, top: y - 3, bottom: y + 3 });
    return [each, x, y];
  });
  for (const [each, x, y] of dots) {
    const name = document.createElement("span");
    name.className = "em-pad-name";
    name.textContent = each.name;
    names.append(name);
    const free = sides(x, y, name, BESIDE).find((side) =>
      inside(side, frame.width, frame.height) && !written.some((other) => meets(side, other)));
    if (!free) {
      name.remove();
      continue;
    }
    name.style.left = `${free.left}px`;
    name.style.top = `${free.top}px`;
    written.push({ ...free, name: each.name });
  }
  draw();
}

function send() {
  clearTimeout(timer);
  timer = null;
  sentAt = performance.now();
  props.value = { ...point };
  trigger("input");
}

function move(valence, arousal) {
  const next = clipped(valence, arousal);
  if (next.valence === point.valence && next.arousal === point.arousal) return false;
  point = next;
  draw();
  timer ??= setTimeout(send, Math.max(0, sentAt + THROTTLE - performance.now()));
  return true;
}

function release() {
  if (timer !== null) send();
  props.value = { ...point };
  trigger("release");
}

function follow(event) {
  const frame = plane.getBoundingClientRect();
  move(EXTENT * (2 * (event.clientX - frame.left) / frame.width - 1),
       EXTENT * (1 - 2 * (event.clientY - frame.top) / frame.height));
}

plane.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();  // no text is selected; focus is given by hand
  plane.focus({ preventScroll: true });
  plane.setPointerCapture(event.pointerId);
  dragging = true;
  follow(event);
});
plane.addEventListener("pointermove", (event) => dragging && event.isPrimary && follow(event));
plane.addEventListener("lostpointercapture", () => {  // comes after pointerup and pointercancel alike
  if (!dragging) return;
  dragging = false;
  release();
});

const ARROWS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
plane.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || dragging) return;
  const size = event.shiftKey ? LEAP : STEP, arrow = ARROWS[event.key];
  const home = event.key === "Home" || event.key === "Escape";
  if (!arrow && !home) return;
  event.preventDefault();
  const moved = home ? move(0, 0) : move(point.valence + size * arrow[0], point.arousal + size * arrow[1]);
  keyed ||= moved;
});
function letGo() {  // one release for a key that is held down
  if (!keyed) return;
  keyed = false;
  release();
}
plane.addEventListener("keyup", (event) => (event.key in ARROWS || event.key === "Home" || event.key === "Escape") && letGo());
plane.addEventListener("blur", letGo);

function set() {
  if (dragging) return;  // the hand wins; what it lets go is sent
  const given = props.value;
  point = clipped(given?.valence || 0, given?.arousal || 0);
  draw();
}

help.id = `em-pad-help-${Math.random().toString(36).slice(2)}`;
plane.setAttribute("aria-describedby", help.id);
plane.setAttribute("aria-label", props.label || "Tone");
watch("value", set);
watch("emotions", write);
set();
new ResizeObserver(write).observe(plane);
