"use strict";
(() => {
  const graph = document.querySelector(".graph");
  const cards = [...graph.querySelectorAll(".card[id]")];
  const links = [...graph.querySelectorAll(".link[id]")];
  const marks = [...graph.querySelectorAll(".mark[data-link]")];
  const ends = new Map(cards.map((card) => [card.id, { up: [], down: [] }]));
  for (const link of links) {
    ends.get(link.dataset.to).up.push([link, link.dataset.from]);
    ends.get(link.dataset.from).down.push([link, link.dataset.to]);
  }

  // Relatives: ancestors one way, descendants the other, fainter with every step.
  const reset = () => {
    graph.classList.remove("lit");
    for (const part of [...cards, ...links, ...marks]) {
      part.classList.remove("near", "up", "down", "center");
      part.style.removeProperty("--light");
    }
  };
  const light = (part, step, ...classes) => {
    part.classList.add("near", ...classes);
    part.style.setProperty("--light", Math.max(0.45, 1 - 0.18 * Math.max(0, step - 1)));
  };
  const show = (id) => {
    reset();
    graph.classList.add("lit");
    const center = document.getElementById(id);
    light(center, 0, "center");
    for (const way of ["up", "down"]) {
      const seen = new Set([id]);
      let level = [id];
      for (let step = 1; level.length; step += 1) {
        const next = [];
        for (const at of level) {
          for (const [link, other] of ends.get(at)[way]) {
            light(link, step, way);
            for (const mark of marks) if (mark.dataset.link === link.id) light(mark, step);
            if (!seen.has(other)) {
              seen.add(other);
              next.push(other);
              light(document.getElementById(other), step);
            }
          }
        }
        level = next;
      }
    }
  };

  // A click keeps what is shown; another one, or Escape, lets go.
  let kept = null;
  const again = () => (kept ? show(kept) : reset());
  for (const card of cards) {
    card.setAttribute("tabindex", "0");
    card.addEventListener("pointerenter", () => moved || show(card.id));
    card.addEventListener("pointerleave", () => moved || again());
    card.addEventListener("focus", () => card.matches(":focus-visible") && show(card.id));
    card.addEventListener("blur", again);
  }
  const keep = (id) => {
    kept = kept === id ? null : id;
    again();
  };

  // The part of the picture that is seen.
  const whole = graph.viewBox.baseVal;
  const all = { x: whole.x, y: whole.y, width: whole.width, height: whole.height };
  let view = { ...all };
  const set = (next) => {
    view = next;
    graph.setAttribute("viewBox", [view.x, view.y, view.width, view.height].join(" "));
  };
  const scale = () => Math.max(view.width / graph.clientWidth, view.height / graph.clientHeight);
  const fit = () => {
    // Small pictures are not blown up.
    const width = Math.max(all.width, graph.clientWidth);
    const height = Math.max(all.height, graph.clientHeight);
    set({ x: all.x - (width - all.width) / 2, y: all.y - (height - all.height) / 2, width, height });
  };
  const point = (event) => {
    const place = graph.getScreenCTM().inverse();
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(place);
  };
  const zoom = (factor, at) => {
    const width = view.width * factor;
    if (width < 60 || width > 8 * Math.max(all.width, graph.clientWidth)) return;
    set({
      x: at.x - (at.x - view.x) * factor,
      y: at.y - (at.y - view.y) * factor,
      width,
      height: view.height * factor,
    });
  };
  const middle = () => ({ x: view.x + view.width / 2, y: view.y + view.height / 2 });

  let start = null;
  let moved = false;
  graph.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004), point(event));
  }, { passive: false });
  graph.addEventListener("pointerdown", (event) => {
    if (event.button === 0) start = { x: event.clientX, y: event.clientY, view, on: event.target.closest(".card[id]") };
  });
  window.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = [event.clientX - start.x, event.clientY - start.y];
    if (!moved && Math.hypot(x, y) < 4) return;
    moved = true;
    graph.classList.add("moving");
    const by = scale();
    set({ ...start.view, x: start.view.x - x * by, y: start.view.y - y * by });
  });
  window.addEventListener("pointerup", () => {
    if (start && !moved) {
      if (start.on) keep(start.on.id);
      else if (kept) keep(kept);
    }
    start = null;
    moved = false;
    graph.classList.remove("moving");
  });

  const search = document.getElementById("search");
  search.addEventListener("input", () => {
    const words = search.value.trim().toLowerCase();
    for (const card of cards) {
      const found = words && card.getAttribute("aria-label").toLowerCase().includes(words);
      card.classList.toggle("found", Boolean(found));
    }
  });
  search.addEventListener("keydown", (event) => {
    const found = graph.querySelector(".card.found");
    if (event.key !== "Enter" || !found) return;
    const box = found.getBBox();
    const corner = new DOMPoint(box.x + box.width / 2, box.y + box.height / 2);
    const at = corner.matrixTransform(graph.getScreenCTM().inverse().multiply(found.getScreenCTM()));
    // Large enough to be read.
    const [width, height] = [graph.clientWidth, graph.clientHeight];
    set({ x: at.x - width / 2, y: at.y - height / 2, width, height });
    kept = found.id;
    again();
  });
  document.getElementById("in").addEventListener("click", () => zoom(0.8, middle()));
  document.getElementById("out").addEventListener("click", () => zoom(1.25, middle()));
  document.getElementById("fit").addEventListener("click", fit);
  window.addEventListener("keydown", (event) => {
    if (event.target === search || event.ctrlKey || event.metaKey) return;
    const step = view.width / 12;
    const keys = {
      "+": () => zoom(0.8, middle()),
      "-": () => zoom(1.25, middle()),
      0: fit,
      Escape: () => { kept = null; reset(); },
      ArrowLeft: () => set({ ...view, x: view.x - step }),
      ArrowRight: () => set({ ...view, x: view.x + step }),
      ArrowUp: () => set({ ...view, y: view.y - step }),
      ArrowDown: () => set({ ...view, y: view.y + step }),
    };
    if (event.key === "Enter" || event.key === " ") {
      const card = document.activeElement.closest(".card[id]");
      if (!card) return;
      keep(card.id);
    } else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  window.addEventListener("resize", fit);
  fit();
})();
