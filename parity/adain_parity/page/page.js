"use strict";
(() => {
  const uris = JSON.parse(document.getElementById("pictures").textContent);
  const list = document.querySelector(".cases");
  const cases = [...list.children];
  const cells = new Map([...document.querySelectorAll(".matrix .cell")].map((cell) => [cell.hash.slice(1), cell]));
  const form = document.querySelector(".filters");
  const output = form.querySelector("output");
  const tally = [...document.querySelectorAll(".tally button")];
  const FIELDS = ["backend", "precision", "model"];
  const chosen = new Set();

  /* Pictures are kept once, as text, and become images only where they are seen: a page may have thousands. */
  const load = (image) => {
    if (!image.hasAttribute("src")) image.src = uris[Number(image.dataset.picture)];
  };
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      load(entry.target);
      near.unobserve(entry.target);
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("img[data-picture]").forEach((image) => near.observe(image));

  /* A plot that is wider than its place shows the layer that matters. */
  const plots = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      const mark = isIntersecting && target.querySelector("line.blamed");
      if (!mark) continue;
      const at = mark.getBoundingClientRect().left - target.getBoundingClientRect().left;
      target.scrollLeft += at - target.clientWidth / 2;
      plots.unobserve(target);
    }
  });
  document.querySelectorAll(".plot").forEach((plot) => plots.observe(plot));

  /* Filters: what is chosen is kept in the address, so that a view can be passed on. */
  const visible = () => [...list.children].filter((item) => !item.hidden);

  function apply() {
    const wanted = Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const item of cases) {
      const { dataset } = item;
      const shown = FIELDS.every((name) => !wanted[name] || dataset[name] === wanted[name])
        && (!chosen.size || chosen.has(dataset.verdict))
        && words.every((word) => dataset.text.includes(word));
      item.hidden = !shown;
      cells.get(item.id)?.classList.toggle("away", !shown);
      if (shown) count += 1;
    }
    for (const button of tally) button.setAttribute("aria-pressed", String(chosen.has(button.value)));
    document.querySelector(".empty").hidden = count > 0;
    output.textContent = count === cases.length ? `${count} cases` : `${count} of ${cases.length} cases`;
  }

  const orders = {
    worst: (a, b) => a.dataset.worst - b.dataset.worst,
    matrix: (a, b) => a.dataset.matrix - b.dataset.matrix,
    slowest: (a, b) => b.dataset.seconds - a.dataset.seconds,
  };

  let arranged = "worst";
  function arrange() {
    const order = form.elements.order.value;
    if (order === arranged) return; // to move an element is to take the focus from it
    arranged = order;
    list.append(...[...cases].sort(orders[order]));
  }

  function remember() {
    const query = new URLSearchParams();
    for (const name of [...FIELDS, "text"]) if (form.elements[name].value) query.set(name, form.elements[name].value);
    if (form.elements.order.value !== "worst") query.set("order", form.elements.order.value);
    for (const verdict of chosen) query.append("verdict", verdict);
    const text = query.toString();
    history.replaceState(null, "", text ? `#?${text}` : location.pathname + location.search);
  }

  function recall() {
    if (!location.hash.startsWith("#?")) return;
    const query = new URLSearchParams(location.hash.slice(2));
    for (const name of [...FIELDS, "text", "order"]) {
      const field = form.elements[name];
      const value = query.get(name) ?? (name === "order" ? "worst" : "");
      if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
    }
    chosen.clear();
    for (const verdict of query.getAll("verdict")) chosen.add(verdict);
  }

  function refresh() {
    apply();
    arrange();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { refresh(); remember(); });
  form.addEventListener("reset", () => {
    chosen.clear();
    setTimeout(() => { refresh(); remember(); });
  });
  for (const button of tally) {
    button.addEventListener("click", () => {
      if (!chosen.delete(button.value)) chosen.add(button.value);
      refresh();
      remember();
    });
  }

  /* Squares lead to their cases; the arrow keys walk over them. */
  function reveal() {
    const item = location.hash.length > 1 && !location.hash.startsWith("#?") && document.getElementById(location.hash.slice(1));
    if (!item || !item.matches(".case")) return;
    if (item.hidden) {
      for (const name of [...FIELDS, "text"]) form.elements[name].value = "";
      chosen.clear();
      refresh();
    }
    item.open = true;
    item.scrollIntoView({ block: "start" });
    item.querySelector("summary").focus({ preventScroll: true });
  }
  addEventListener("hashchange", () => {
    if (location.hash.startsWith("#?")) { recall(); refresh(); } else reveal();
  });
  document.querySelectorAll(".matrix table").forEach((table) => {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.querySelector(".cell")));
    const inside = rows.flat().filter(Boolean);
    inside.forEach((cell, i) => { cell.tabIndex = i ? -1 : 0; });
    table.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      let row = rows.findIndex((line) => line.includes(event.target));
      let column = row < 0 ? -1 : rows[row].indexOf(event.target);
      do {
        row += step[0];
        column += step[1];
      } while (rows[row] && column > 0 && column < rows[row].length && !rows[row][column]);
      const next = rows[row]?.[column];
      event.preventDefault();
      if (!next) return;
      for (const cell of inside) cell.tabIndex = cell === next ? 0 : -1;
      next.focus();
    });
    table.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (cell && cell.hash === location.hash) reveal();
    });
  });

  /* Enlarged pictures. */
  const dialog = document.querySelector("dialog");
  const view = dialog.querySelector(".view");
  const pair = dialog.querySelector(".pair");
  const title = dialog.querySelector("h2");
  const slider = dialog.querySelector("input");
  const modes = [...dialog.querySelectorAll("[data-mode]")];
  const kinds = ["reference", "backend", "difference"];
  let current = null;
  let mode = "compare";

  const pictureOf = (item, kind) => item.querySelector(`.pictures [data-kind="${kind}"] img`);
  const has = (item, which) => (which === "compare"
    ? Boolean(pictureOf(item, "reference") && pictureOf(item, "backend")) : Boolean(pictureOf(item, which)));

  function slideTo(percent) {
    const at = Math.min(100, Math.max(0, percent));
    slider.value = at;
    pair.style.setProperty("--at", `${at}%`);
  }

  function fit() {
    const image = pair.querySelector("img");
    if (!dialog.open || !image?.naturalWidth) return;
    const style = getComputedStyle(view);
    const width = view.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const scale = Math.min(width / image.naturalWidth, view.clientHeight / image.naturalHeight, 4);
    pair.style.width = `${image.naturalWidth * scale}px`;
    pair.style.height = `${image.naturalHeight * scale}px`;
    pair.classList.toggle("fine", scale > 1.5);
  }

  function show() {
    if (!has(current, mode)) mode = kinds.find((kind) => has(current, kind));
    const shown = mode === "compare" ? ["reference", "backend"] : [mode];
    const parts = shown.flatMap((kind, i) => {
      const image = new Image();
      image.src = uris[Number(pictureOf(current, kind).dataset.picture)];
      image.alt = kind;
      image.draggable = false;
      if (i) image.className = "after";
      const label = document.createElement("span");
      label.textContent = kind;
      image.decode().then(fit, () => {});
      return [image, label];
    });
    pair.replaceChildren(...parts);
    pair.classList.toggle("compare", mode === "compare");
    pair.querySelectorAll("span").forEach((label) => { label.hidden = mode !== "compare"; });
    slider.hidden = mode !== "compare";
    for (const button of modes) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
      button.disabled = !has(current, button.dataset.mode);
    }
    const small = document.createElement("small");
    small.textContent = [current.querySelector(".what span").textContent, current.dataset.reason].filter(Boolean).join(" · ");
    title.replaceChildren(current.querySelector(".what b").textContent, small);
    fit();
  }

  function choose(which) {
    if (!has(current, which)) return;
    mode = which;
    show();
    if (document.activeElement?.dataset.mode) modes.find((each) => each.dataset.mode === mode).focus();
  }

  function step(by) {
    const among = visible().filter((item) => has(item, "reference"));
    const at = among.indexOf(current);
    current = among[(at + by + among.length) % among.length];
    show();
  }

  list.addEventListener("click", (event) => {
    const button = event.target.closest(".pictures button");
    if (!button) return;
    current = button.closest(".case");
    mode = button.dataset.kind;
    dialog.showModal();
    slideTo(50);
    show();
    modes.find((each) => each.dataset.mode === mode).focus({ focusVisible: false });
  });
  const keys = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    1: () => choose("reference"),
    2: () => choose("backend"),
    3: () => choose("difference"),
    4: () => choose("compare"),
    " ": () => choose(mode === "backend" ? "reference" : "backend"),
  };
  dialog.addEventListener("keydown", (event) => {
    const otherButton = event.target instanceof HTMLButtonElement && !event.target.dataset.mode && event.key === " ";
    if (!keys[event.key] || otherButton || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  dialog.addEventListener("close", () => {
    current.open = true;
    (current.querySelector(`.pictures button[data-kind="${mode}"]`) ?? current.querySelector("summary")).focus();
  });
  for (const button of modes) button.addEventListener("click", () => choose(button.dataset.mode));
  dialog.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => step(Number(button.dataset.step))));
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  slider.addEventListener("input", () => slideTo(Number(slider.value)));
  const drag = (event) => {
    const box = pair.getBoundingClientRect();
    if (mode === "compare") slideTo((100 * (event.clientX - box.left)) / box.width);
  };
  pair.addEventListener("pointerdown", (event) => { pair.setPointerCapture(event.pointerId); drag(event); });
  pair.addEventListener("pointermove", (event) => { if (pair.hasPointerCapture(event.pointerId)) drag(event); });
  addEventListener("resize", fit);

  /* On paper everything that the filters leave is seen, with its pictures. */
  addEventListener("beforeprint", () => visible().forEach((item) => item.querySelectorAll("img[data-picture]").forEach(load)));

  recall();
  refresh();
  reveal();
})();
