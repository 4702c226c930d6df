"use strict";
// The page is whole without this script; what it adds is sorting, searching, folding, switching and charts that answer.
(async () => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- what the page was made of

  const bytes = text => {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const letters = atob(text);
    const made = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at++) made[at] = letters.charCodeAt(at);
    return made;
  };
  const unpacked = id => {
    const packed = new Blob([bytes($(id).textContent)]).stream();
    return new Response(packed.pipeThrough(new DecompressionStream("deflate")));
  };
  const data = await unpacked("#data").json();
  const say = (name, values) => data.words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);

  // Foreign text goes through here, and is text.
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  const figure = value => {
    if (value === 0) return "0";
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : "inf";
    const short = value >= 1e-3 && value < 1e5;
    const [digits, power] = (short ? value.toPrecision(3) : value.toExponential(2)).split("e");
    const shown = short ? String(Number(digits)) : digits;
    return power ? `${shown}e${power[0]}${power.slice(1).padStart(2, "0")}` : shown;
  };

  // ---- light and dark

  const theme = $("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = value => {
    try {
      if (value) localStorage.setItem("dgtool-theme", value);
      return localStorage.getItem("dgtool-theme");
    } catch {
      return value;
    }
  };
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const setTheme = value => {
    if (value) document.documentElement.dataset.theme = value;
    theme.textContent = isDark() ? theme.dataset.light : theme.dataset.dark;
  };
  theme.addEventListener("click", () => setTheme(remembered(isDark() ? "light" : "dark") ?? ""));
  system.addEventListener("change", () => setTheme());
  setTheme(remembered());

  // ---- tips

  const tip = $("#tip");
  const showTip = (pairs, event) => {
    tip.replaceChildren(...pairs.map(([name, value]) => {
      const line = make("div");
      line.append(make("b", name), make("span", value));
      return line;
    }));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, innerWidth - width - 8);
    const below = event.clientY + 18;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below + height > innerHeight ? event.clientY - height - 10 : below}px`;
  };
  const hideTip = () => { tip.hidden = true; };

  // ---- charts: the drawing that came with the page gives way to one that answers

  // Vega is run when the first chart comes into view. The page's policy knows its digest.
  let engine;
  const loadEngine = async () => {
    const script = make("script", await unpacked("#engine").text());
    document.head.append(script);
  };
  const views = new Map();
  const draw = async container => {
    await (engine ??= loadEngine());
    const name = container.dataset.chart;
    if (views.has(name)) return views.get(name);
    const drawing = $(".drawing", container);
    const view = new vega.View(vega.parse(data.charts[name], null, { ast: true }), {
      renderer: "svg",
      expr: vega.expressionInterpreter,
      logLevel: vega.Error,
    });
    view.tooltip((_, event, item, value) => {
      if (value && typeof value === "object") showTip(Object.entries(value), event);
      else hideTip();
    });
    views.set(name, view);
    drawing.style.minHeight = `${drawing.clientHeight}px`;
    view.width(drawing.clientWidth).initialize(drawing).hover();
    view.runAsync().then(() => {
      drawing.style.minHeight = "";
      $("svg", drawing).setAttribute("aria-hidden", "true"); // its description is beside it
      container.dataset.drawn = "true";
    });
    return view;
  };
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, { rootMargin: "200px" });
  $$("[data-chart]").forEach(container => seen.observe(container));
  const resized = new ResizeObserver(entries => {
    for (const { target } of entries) {
      const view = views.get(target.parentElement.dataset.chart);
      if (view && target.clientWidth && target.clientWidth !== view.width()) view.width(target.clientWidth).runAsync();
    }
  });
  $$(".drawing").forEach(drawing => resized.observe(drawing));

  const range = order => { // as the page's maker names it
    const first = 2 ** (order - 1);
    return order < 2 ? String(order) : order < 15 ? `${first}-${2 * first - 1}` : `2^${order - 1}`;
  };
  const chooseUlps = async (title, ulps) => {
    const container = $("#chart-ulps");
    const view = await draw(container);
    view.data("values", ulps.map((count, order) => ({ order, range: range(order), count }))).runAsync();
    $("figcaption", container).textContent = title;
    container.scrollIntoView({ block: "nearest" });
  };

  // ---- tables

  const PAGE = 50;
  const measure = marked => {
    const text = marked.replace("✕ ", "");
    if (text === "-" || text === "") return -Infinity;
    if (text === "nan") return Infinity;
    if (text === "inf") return Number.MAX_VALUE;
    if (text === "initial") return -1;
    const value = parseFloat(text);
    return Number.isNaN(value) ? -Infinity : value;
  };
  const setUpTable = container => {
    const { kinds, rows, extras, filters } = data.tables[container.dataset.table];
    const body = $("tbody", container);
    const more = $(".more", container);
    const search = $("input", container);
    const selects = $$("select", container);
    const state = { shown: PAGE, column: -1, falling: false };
    let found = [];

    for (const select of selects) {
      const column = Number(select.dataset.column);
      const values = [...new Set(rows.map(row => row[column]))];
      values.sort(kinds[column] === "number" ? (a, b) => measure(a) - measure(b) : undefined);
      select.append(...values.map(value => make("option", value, { value })));
    }
    const cell = (row, index, column) => {
      const element = make("td", undefined, { class: kinds[column] });
      const text = row[column];
      if (column === 0 && extras.length && extras[index].length) {
        const button = make("button", text, { type: "button", title: say("ulps", {}) });
        button.addEventListener("click", () => {
          $$(".chosen", container).forEach(other => other.classList.remove("chosen"));
          button.closest("tr").classList.add("chosen");
          chooseUlps(row.slice(0, 4).join(", "), extras[index]);
        });
        element.append(button);
      } else element.textContent = text;
      if (kinds[column] === "status") element.dataset.status = text;
      if (text.startsWith("✕ ")) element.classList.add("wrong");
      return element;
    };
    const render = () => {
      body.replaceChildren(...found.slice(0, state.shown).map(index => {
        const line = make("tr");
        line.append(...rows[index].map((_, column) => cell(rows[index], index, column)));
        return line;
      }));
      const shown = Math.min(state.shown, found.length);
      $("output", container).textContent = say("shown", { shown, found: found.length, all: rows.length });
      if (more) more.hidden = shown === found.length;
    };
    const names = kinds.flatMap((kind, column) => (kind === "name" ? [column] : []));
    const find = () => {
      const wanted = search.value.trim().toLowerCase().split(/\s+/);
      const chosen = selects.filter(select => select.value).map(select => [Number(select.dataset.column), select.value]);
      found = [];
      rows.forEach((row, index) => {
        if (!chosen.every(([column, value]) => row[column] === value)) return;
        const text = names.map(column => row[column]).join(" ").toLowerCase();
        if (wanted.every(word => text.includes(word))) found.push(index);
      });
      const { column, falling } = state;
      if (column >= 0) {
        const keys = new Map(found.map(index => {
          const text = rows[index][column];
          return [index, kinds[column] === "number" ? measure(text) : text];
        }));
        const compare = kinds[column] === "number"
          ? (a, b) => (a < b ? -1 : a > b ? 1 : 0)
          : new Intl.Collator(undefined, { numeric: true }).compare;
        found.sort((a, b) => (falling ? -1 : 1) * compare(keys.get(a), keys.get(b)) || a - b);
      }
      state.shown = PAGE;
      render();
    };
    $$("thead th", container).forEach((head, column) => {
      const button = make("button", head.textContent, { type: "button" });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = kinds[column] === "number";
        state.falling = state.column === column ? !state.falling : first;
        state.column = column;
        $$("thead th", container).forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", state.falling ? "descending" : "ascending");
        find();
      });
    });
    search.addEventListener("input", find);
    selects.forEach(select => select.addEventListener("change", find));
    more?.addEventListener("click", () => { state.shown += PAGE * 4; render(); });
    $("form", container).addEventListener("submit", event => event.preventDefault());
    find();
  };

  // ---- the heat map

  const MOST = 400;
  const setUpMap = () => {
    const table = $("#heat");
    const [quantities, dtypes] = [$("#map-quantity"), $("#map-dtype")];
    let grid;
    let open = new Set();

    const value = code => {
      if (code === 1) return 0;
      if (code >= 65534) return code === 65534 ? Infinity : NaN;
      return Number(`${((code - 3) % 900) + 100}e${Math.floor((code - 3) / 900) - 52}`);
    };
    const heat = code => (code < 2 ? "e" : code === 65535 ? 8 : Math.max(0, Math.min(8,
      Math.floor((Math.log10(value(code)) + 17) / 2))));
    const worst = ([, , start, end]) => {
      const width = grid.columns.length;
      const codes = new Uint16Array(width);
      const levels = new Uint8Array(width);
      for (let at = start * width; at < end * width; at += width) {
        for (let column = 0; column < width; column++) {
          if (grid.codes[at + column] > codes[column]) codes[column] = grid.codes[at + column];
          if (grid.levels[at + column] > levels[column]) levels[column] = grid.levels[at + column];
        }
      }
      return [codes, levels];
    };
    const folds = index => grid.nodes[index + 1]?.[1] > grid.nodes[index][1];
    const render = () => {
      const lines = [];
      let skipped = Infinity; // what lies deeper than this is folded away
      let left = 0;
      grid.nodes.forEach((node, index) => {
        const [label, depth] = node;
        if (depth > skipped) return;
        skipped = open.has(index) ? Infinity : depth;
        if (lines.length >= MOST) { left += 1; return; }
        const line = make("tr");
        const head = make("th", undefined, { scope: "row", class: `depth-${Math.min(depth, 8)}`, title: label });
        if (folds(index)) {
          const button = make("button", label, { type: "button", "aria-expanded": open.has(index), "data-node": index });
          head.append(button);
        } else head.textContent = label;
        const [codes, levels] = worst(node);
        line.append(head, ...Array.from(codes, (code, column) => {
          const text = levels[column] === 0 ? "" : code === 0 ? "-" : code === 2 ? "<1e-50" : figure(value(code));
          return make("td", text, { class: `heat-${heat(code)}${levels[column] === 3 ? " differs" : ""}` });
        }));
        lines.push(line);
      });
      $("tbody", table).replaceChildren(...lines);
      $("#map output").textContent = left ? say("folded", { left }) : "";
    };
    const choose = () => {
      grid = data.grids.find(each => each.quantity === quantities.value && each.dtype === dtypes.value)
        ?? data.grids.find(each => each.quantity === quantities.value);
      dtypes.value = grid.dtype;
      if (typeof grid.codes === "string") {
        grid.codes = new Uint16Array(bytes(grid.codes).buffer);
        grid.levels = bytes(grid.levels);
      }
      table.classList.toggle("dense", grid.dense);
      const heads = grid.headings.map(([name, width]) => make("th", name === "initial" ? say("initial", {}) : name, {
        scope: "col", colspan: width,
      }));
      $("thead tr", table).replaceChildren(make("th", say("iteration", {}), { scope: "col" }), ...heads);
      open = new Set([...grid.nodes.keys()].filter(index => grid.nodes[index][1] < grid.deepest));
      render();
    };
    for (const [select, field] of [[quantities, "quantity"], [dtypes, "dtype"]]) {
      const values = [...new Set(data.grids.map(each => each[field]))];
      select.append(...values.map(name => make("option", name, { value: name })));
      select.value = data.grids[0][field];
      select.addEventListener("change", choose);
    }
    table.addEventListener("click", event => {
      const button = event.target.closest("[data-node]");
      if (!button) return;
      const index = Number(button.dataset.node);
      if (!open.delete(index)) open.add(index);
      render();
      $(`[data-node="${index}"]`, table)?.focus();
    });
    table.addEventListener("mousemove", event => {
      const line = event.target.closest("tbody td")?.parentElement;
      if (!line) { hideTip(); return; }
      const at = event.target.closest("td").cellIndex;
      const differs = event.target.closest("td").classList.contains("differs");
      showTip([
        [line.cells[0].textContent, ""],
        [say("iteration", {}), grid.columns[at - 1]],
        [say("error", {}), event.target.textContent + (differs ? ` (${say("differs", {})})` : "")],
      ], event);
    });
    table.addEventListener("mouseleave", hideTip);
    $("#map-fold").addEventListener("click", () => { open.clear(); render(); });
    $("#map-differs").addEventListener("click", () => {
      open = new Set([...grid.nodes.keys()].filter(index => folds(index) && worst(grid.nodes[index])[1].includes(3)));
      render();
    });
    choose();
  };

  // ---- all of it

  document.documentElement.classList.remove("still");
  $$("[data-table]").forEach(setUpTable);
  if (data.grids.length) setUpMap();
  addEventListener("beforeprint", () => $$("details:not(.screen)").forEach(each => { each.open = true; }));
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
