// The script of a report's page: sorts and filters the table and feeds the charts. All texts of the study are set as text, never as HTML.
"use strict";
(() => {
  // Characters that act instead of being seen, such as those that turn the direction of text, are shown by their numbers.
  const shown = (text) => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) =>
    "\n\t\u200c\u200d".includes(c) ? c : `\\u{${c.codePointAt(0).toString(16)}}`);
  const report = JSON.parse(document.getElementById("data").textContent, (key, value) => {
    if (typeof value === "string") return shown(value);
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [shown(name), item]));
  });
  const cells = report.cells;
  const mostBars = 60, mostLines = 12, tickedAtFirst = 40;
  const narrow = () => window.innerWidth < 640;

  const byId = (id) => document.getElementById(id);
  const element = (tag, {parent, text, ...rest} = {}) => {
    const made = Object.assign(document.createElement(tag), rest);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };

  // ---- numbers ----

  const written = {
    count: (v) => v.toFixed(0),
    one_digit: (v) => v.toFixed(1),
    three_digits: (v) => v.toFixed(3),
    ratio: (v) => v.toFixed(2) + "x",
    share: (v) => (100 * v).toFixed(1) + "%",
    round_share: (v) => (100 * v).toFixed(0) + "%",
    short: (v) => v.toPrecision(3),
  };
  const shown = (value, format) => (typeof value === "number" ? written[format](value) : "-");
  const isNumber = (value) => typeof value === "number";

  let task = "overall";
  const numbers = (cell) => cell.tasks[task] || {};
  const unreliable = (numbers) => numbers?.verdict === "unreliable timing";

  // ---- which cells ----

  const rank = (cell) => {
    const n = cell.tasks.overall || {};
    return n.speedup ?? n.mean_acceptance_length ?? -1;
  };
  const best = cells.map((_, i) => i).sort((a, b) => rank(cells[b]) - rank(cells[a])).slice(0, tickedAtFirst);
  const ticked = new Set(best);
  const chosenSettings = {};
  let words = "";
  const passes = (cell) => cell.name.toLowerCase().includes(words.toLowerCase()) &&
      Object.entries(chosenSettings).every(([path, value]) => value === "" || (cell.settings[path] ?? "-") === value);

  // ---- the table ----

  const isThere = (name) => cells.some((cell) => Object.values(cell.tasks).some((numbers) => isNumber(numbers[name])));
  const columns = [{heading: "cell", text: true, value: (cell) => cell.name}];
  for (const [name, measure] of Object.entries(report.measures.task)) {
    if (measure.in_table === "never" || (measure.in_table === "if_any" && !isThere(name))) continue;
    columns.push({heading: measure.heading, value: (cell) => numbers(cell)[name], written: (cell) => shown(numbers(cell)[name], measure.format)});
    if (name !== "speedup") continue;
    if (isThere("speedup_interval_low")) {
      columns.push({
        heading: "interval",
        value: (cell) => numbers(cell).speedup_interval_low,
        written: (cell) => {
          const n = numbers(cell);
          const bounds = isNumber(n.speedup_interval_low) ? `${n.speedup_interval_low.toFixed(2)} to ${n.speedup_interval_high.toFixed(2)}` : "none";
          return n.speedup_units ? `${bounds} (${n.speedup_units})` : bounds.replace("none", "-");
        },
        title: (cell) => numbers(cell).speedup_no_interval ?? "",
      });
    }
    if (cells.some((cell) => Object.values(cell.tasks).some((numbers) => numbers.verdict)))
      columns.push(
          {heading: "verdict", text: true, value: (cell) => numbers(cell).verdict ?? "-", title: (cell) => numbers(cell).verdict_words ?? ""});
  }
  let sorted = {column: -1, down: false};
  const inOrder = () => {
    const order = cells.map((_, i) => i).filter((i) => passes(cells[i]));
    if (sorted.column < 0) return order;
    const {value, text} = columns[sorted.column];
    const sign = sorted.down ? -1 : 1;
    return order.sort((a, b) => {
      const x = value(cells[a]), y = value(cells[b]);
      if (text) return sign * String(x).localeCompare(String(y), "en", {numeric: true});
      if (!isNumber(x) || !isNumber(y)) return isNumber(y) - isNumber(x);  // what has no number goes last
      return sign * (x - y);
    });
  };

  const drawTable = () => {
    const table = byId("results");
    table.replaceChildren();
    const order = inOrder();
    const head = element("tr", {parent: element("thead", {parent: table})});
    const all = element("input", {parent: element("th", {parent: head, className: "tick"}), type: "checkbox", title: "all cells that are shown"});
    all.checked = order.length > 0 && order.every((i) => ticked.has(i));
    all.onchange = () => {
      order.forEach((i) => (all.checked ? ticked.add(i) : ticked.delete(i)));
      redraw();
    };
    columns.forEach((column, at) => {
      const th = element("th", {parent: head, className: column.text ? "text" : ""});
      if (sorted.column === at) th.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      element("button", {parent: th, type: "button", text: column.heading}).onclick = () => {
        sorted = {column: at, down: sorted.column === at ? !sorted.down : !column.text};
        redraw();
      };
    });
    const body = element("tbody", {parent: table});
    for (const i of order) {
      const cell = cells[i];
      const row = element("tr", {parent: body, className: cell.state === "complete" ? "" : "unfinished"});
      const tick = element("input", {parent: element("td", {parent: row, className: "tick"}), type: "checkbox", checked: ticked.has(i)});
      tick.setAttribute("aria-label", "chart " + cell.name);
      tick.onchange = () => {
        tick.checked ? ticked.add(i) : ticked.delete(i);
        drawCharts();
      };
      columns.forEach((column, at) => {
        const td = element(
            "td",
            {parent: row,
             className: at === 0 ? "text name" :
                 column.text     ? "text" :
                                   "",
             text: (column.written || column.value)(cell)});
        if (column.title) td.title = column.title(cell);
        if (at > 0) return;
        if (cell.is_baseline) element("span", {parent: td, className: "tag", text: "A/A"});
        if (cell.given_acceptance) element("span", {parent: td, className: "tag", text: "given acceptance", title: cell.given_acceptance});
        if (cell.imported_from) element("span", {parent: td, className: "tag", text: "imported", title: cell.imported_from});
        if (cell.state !== "complete") element("span", {parent: td, className: "tag", text: cell.state});
      });
    }
  };

  // ---- the heat maps of experts ----

  const drawExperts = () => {
    for (const cell of cells) {
      const layers = cell.tasks.overall?.experts?.layers ?? [];
      if (!layers.length) continue;
      const section = byId("experts");
      section.hidden = false;
      element("h3", {parent: section, text: cell.name});
      const table = element("table", {parent: element("div", {parent: section, className: "wide"}), className: "heat"});
      const head = element("tr", {parent: element("thead", {parent: table})});
      element("th", {parent: head, text: "layer"});
      const most = Math.max(...layers.map((layer) => layer.load.length));
      for (let expert = 0; expert < most; ++expert) element("th", {parent: head, text: String(expert)});
      for (const layer of layers) {
        const row = element("tr", {parent: table});
        element("th", {parent: row, text: String(layer.layer)});
        const sum = layer.load.reduce((a, b) => a + b, 0);
        layer.load.forEach((rows, expert) => {
          const ratio = sum > 0 ? rows * layer.load.length / sum : 0;
          const td = element("td", {parent: row, text: ratio.toFixed(1), title: `layer ${layer.layer}, expert ${expert}: ${rows} rows`});
          td.style.backgroundColor = `rgba(42, 111, 176, ${Math.min(1, ratio / 3).toFixed(3)})`;
        });
      }
    }
  };

  const drawFilters = () => {
    const form = byId("filters");
    form.onsubmit = (event) => event.preventDefault();
    const choice = (name, values, apply) => {
      const select = element("select", {parent: element("label", {parent: form, text: name})});
      values.forEach(([value, text]) => element("option", {parent: select, value, text}));
      select.onchange = () => {
        apply(select.value);
        redraw();
      };
    };
    const tasks = [...new Set(cells.flatMap((cell) => Object.keys(cell.tasks)))].filter((name) => name !== "overall");
    if (tasks.length > 1)
      choice("task", ["overall", ...tasks].map((name) => [name, name]), (value) => {
        task = value;
      });
    const paths = [...new Set(cells.flatMap((cell) => Object.keys(cell.settings)))];
    for (const path of paths) {
      const values = [...new Set(cells.map((cell) => cell.settings[path] ?? "-"))];
      if (values.length > 1 && values.length <= 50)
        choice(path, [["", "any"], ...values.map((value) => [value, value])], (value) => {
          chosenSettings[path] = value;
        });
    }
    if (cells.length > 8)
      element("input", {parent: element("label", {parent: form, text: "name contains"}), type: "search"}).oninput = (event) => {
        words = event.target.value;
        redraw();
      };
  };

  // ---- the charts ----

  const palettes = {
    light: {
      ink: "#1c2126",
      quiet: "#5c6670",
      line: "#d8dde2",
      good: "#2e8b57",
      bad: "#c23b4a",
      open: "#8a949e",
      series: ["#2a6fb0", "#d9722b", "#2e8b57", "#8a5fb8", "#c23b4a", "#7a6a2f", "#0f8f9c", "#b0508f"]
    },
    dark: {
      ink: "#e4e8ec",
      quiet: "#98a3ad",
      line: "#333b43",
      good: "#63c08d",
      bad: "#ec7f88",
      open: "#7c8791",
      series: ["#6aa9e6", "#f0a068", "#63c08d", "#b999e0", "#ec7f88", "#c9b45f", "#4fc3d0", "#e08fc4"]
    },
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let colours = palettes.light;
  const cut = (name) => {
    const most = narrow() ? 20 : 52;
    return name.length > most ? name.slice(0, most - 1) + "\u2026" : name;
  };

  const reference = {
    // a line across at one value
    id: "reference",
    beforeDatasetsDraw({ctx, chartArea, scales}, _, {value}) {
      if (value === undefined || value < scales.x.min || value > scales.x.max) return;
      const x = scales.x.getPixelForValue(value);
      ctx.save();
      ctx.strokeStyle = colours.quiet;
      ctx.setLineDash([4, 3]);
      ctx.beginPath();
      ctx.moveTo(x, chartArea.top);
      ctx.lineTo(x, chartArea.bottom);
      ctx.stroke();
      ctx.restore();
    },
  };
  const whiskers = {
    // the intervals of horizontal bars
    id: "whiskers",
    afterDatasetsDraw(chart) {
      const {ctx, scales} = chart;
      (chart.data.datasets[0].intervals || []).forEach((interval, i) => {
        const bar = chart.getDatasetMeta(0).data[i];
        if (!interval || !bar) return;
        const [low, high] = interval.map((value) => scales.x.getPixelForValue(value));
        ctx.save();
        ctx.strokeStyle = colours.ink;
        ctx.lineWidth = 1.5;
        ctx.beginPath();
        ctx.moveTo(low, bar.y);
        ctx.lineTo(high, bar.y);
        for (const x of [low, high]) {
          ctx.moveTo(x, bar.y - 4);
          ctx.lineTo(x, bar.y + 4);
        }
        ctx.stroke();
        ctx.restore();
      });
    },
  };

  const axis = (text, more = {}) => ({
    title: {display: Boolean(text), text, color: colours.quiet},
    ticks: {color: colours.quiet},
    grid: {color: colours.line, borderColor: colours.line},
    ...more
  });
  const names = () => axis("", {
    ticks: {
      color: colours.ink,
      autoSkip: false,
      callback(value) {
        return cut(this.getLabelForValue(value));
      }
    },
    grid: {display: false}
  });
  const legend = (display) => ({display, position: "bottom", labels: {color: colours.ink, boxWidth: 14, usePointStyle: false}});

  const figures = [];
  // `make(cells)` gives what Chart.js takes, a height and what was left out; or a text that says why there is no chart.
  const addFigure = (parent, title, explanation, make) => {
    const figure = element("figure", {parent});
    const caption = element("figcaption", {parent: figure});
    element("h3", {parent: caption, text: title});
    element("p", {parent: caption, className: "quiet", text: explanation});
    const note = element("p", {parent: caption, className: "quiet"});
    const box = element("div", {parent: figure, className: "canvas"});
    const canvas = element("canvas", {parent: box});
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", title);
    figures.push({make, note, box, canvas, chart: null});
  };
  const drawCharts = () => {
    const chosen = inOrder().filter((i) => ticked.has(i)).map((i) => cells[i]);
    for (const figure of figures) {
      figure.chart?.destroy();
      figure.chart = null;
      const made = chosen.length ? figure.make(chosen) : "No cell is ticked.";
      const none = typeof made === "string";
      figure.note.textContent = none ? made : made.note || "";
      figure.box.hidden = none;
      if (none) continue;
      figure.box.style.height = made.height + "px";
      const {options, ...config} = made.config;
      figure.chart = new Chart(figure.canvas, {...config, options: {animation: false, maintainAspectRatio: false, ...options}});
    }
  };
  const firstOf = (list, most) => [list.slice(0, most), list.length > most ? `The first ${most} of ${list.length} cells, in the table's order.` : ""];

  const speedBars = (chosen) => {
    const measure = chosen.some((cell) => isNumber(numbers(cell).speedup)) ? "speedup" : "mean_acceptance_length";
    const [list, note] = firstOf(chosen.filter((cell) => isNumber(numbers(cell)[measure])), mostBars);
    if (!list.length) return "No ticked cell has a speed-up.";
    const faster = measure === "speedup";
    const colour = (n) => ({faster: colours.good, slower: colours.bad}[n.verdict] || (n.verdict ? colours.open : colours.series[0]));
    const intervals = faster ? list.map((cell) => {
      const n = numbers(cell);
      return isNumber(n.speedup_interval_low) && isNumber(n.speedup_interval_high) ? [n.speedup_interval_low, n.speedup_interval_high] : null;
    }) :
                               [];
    const most = Math.max(1, ...list.map((cell) => numbers(cell)[measure]), ...intervals.flatMap((i) => i || []));
    return {
      note: note + (faster ? "" : " The cells are not timed: tokens per round stand in for the speed-up."),
      height: 64 + 26 * list.length,
      config: {
        type: "bar",
        plugins: [reference, whiskers],
        data: {
          labels: list.map((cell) => cell.name + (unreliable(numbers(cell)) ? " (unreliable timing)" : "")),
          datasets: [{
            data: list.map((cell) => numbers(cell)[measure]),
            intervals,
            maxBarThickness: 18,
            backgroundColor: list.map((cell) => colour(numbers(cell)))
          }]
        },
        options: {
          indexAxis: "y",
          scales: {x: axis(faster ? "speed-up over the baseline" : "tokens per round", {beginAtZero: true, suggestedMax: 1.05 * most}), y: names()},
          plugins: {
            legend: legend(false),
            reference: {value: 1},
            tooltip: {callbacks: {afterLabel: ({dataIndex}) => numbers(list[dataIndex]).verdict_words || []}}
          },
        },
      },
    };
  };

  const acceptance = (chosen) => {
    const [list, note] = firstOf(chosen.filter((cell) => numbers(cell).acceptance_rate_per_position?.length), mostLines);
    if (!list.length) return "No ticked cell has drafted.";
    const depth = Math.min(32, Math.max(...list.map((cell) => numbers(cell).acceptance_rate_per_position.length)));
    return {
      note,
      height: (narrow() ? 300 : 340) + 12 * list.length,
      config: {
        type: "line",
        data: {
          labels: Array.from({length: depth}, (_, i) => i + 1),
          datasets: list.map((cell, i) => {
            const colour = colours.series[i % colours.series.length];
            return {
              label: cut(cell.name),
              data: numbers(cell).acceptance_rate_per_position.slice(0, depth),
              borderColor: colour,
              backgroundColor: colour,
              borderWidth: 2,
              pointRadius: 3,
              borderDash: i < colours.series.length ? [] : [6, 3]
            };
          }),
        },
        options: {
          scales: {x: axis("position in the draft"), y: axis("share of rounds that accepted so far", {min: 0, max: 1})},
          plugins: {legend: legend(true)}
        },
      },
    };
  };

  const phases = (chosen) => {
    const names_of_phases = ["draft", "score", "verify", "commit"];
    const [list, note] = firstOf(chosen.filter((cell) => cell.timed && numbers(cell).tokens > 0 && isNumber(numbers(cell).score_ms)), mostBars);
    if (!list.length) return "No ticked cell was timed.";
    return {
      note,
      height: 96 + 26 * list.length,
      config: {
        type: "bar",
        data: {
          labels: list.map((cell) => cell.name),
          datasets: names_of_phases.map((phase, i) => ({
                                          label: phase,
                                          data: list.map((cell) => numbers(cell)[phase + "_ms"] / numbers(cell).tokens),
                                          backgroundColor: colours.series[i],
                                          maxBarThickness: 18
                                        })),
        },
        options: {
          indexAxis: "y",
          scales: {x: axis("ms per emitted token", {stacked: true}), y: {...names(), stacked: true}},
          plugins: {legend: legend(true)}
        },
      },
    };
  };

  const named = (list) => ({callbacks: {label: ({raw}) => (raw.name ? `${raw.name}: ${raw.x.toFixed(3)}, ${raw.y.toFixed(3)}` : "")}});
  const predictions = [
    {
      what: "decode_speedup",  // predictions leave the prefill out
      measured: (cell) => (unreliable(cell.tasks.overall) ? undefined : cell.tasks.overall?.decode_speedup),
      by: {"iid": "predicted_speedup_iid", "by position": "predicted_speedup_position_wise", "oracle": "predicted_speedup_oracle"}
    },
    {
      what: "mean_acceptance_length",
      measured: (cell) => cell.tasks.overall?.mean_acceptance_length,
      by: {"overlap on text": "overlap_mean_acceptance_length_on_text", "overlap on output": "overlap_mean_acceptance_length_on_output"}
    },
  ];
  const predicted = (chosen) => {
    for (const {what, measured, by} of predictions) {
      const sets = Object.entries(by)
                       .map(([label, name], i) => ({
                              label,
                              data: chosen.filter((cell) => isNumber(cell[name]) && isNumber(measured(cell)))
                                        .map((cell) => ({x: cell[name], y: measured(cell), name: cell.name})),
                              backgroundColor: colours.series[i],
                              pointStyle: ["circle", "triangle", "rectRot"][i],
                              pointRadius: 5,
                              pointHoverRadius: 7,
                            }))
                       .filter((set) => set.data.length);
      if (!sets.length) continue;
      const values = sets.flatMap((set) => set.data.flatMap(({x, y}) => [x, y]));
      const low = Math.min(...values), high = Math.max(...values);
      sets.push({
        label: "as predicted",
        type: "line",
        data: [{x: low, y: low}, {x: high, y: high}],
        borderColor: colours.quiet,
        borderDash: [4, 3],
        borderWidth: 1,
        pointRadius: 0
      });
      return {
        height: 380,
        config: {
          type: "scatter",
          data: {datasets: sets},
          options: {
            scales: {
              x: axis(`predicted ${report.measures.task[what].heading}`),
              y: axis(`measured ${report.measures.task[what].heading}, all tasks`)
            },
            plugins: {legend: {...legend(true), labels: {color: colours.ink, usePointStyle: true}}, tooltip: named()}
          }
        }
      };
    }
    return "No ticked cell has a prediction.";
  };

  const qualities = {
    greedy_rouge_l: "ROUGE-L to the target's greedy answer",
    same_as_greedy: "share of answers equal to the target's greedy one",
    exact_match: "share of right answers",
    same_as_baseline: "share of answers equal to the baseline's"
  };
  const pareto = (chosen) => {
    const speed = chosen.some((cell) => isNumber(numbers(cell).speedup)) ? "speedup" : "tokens_per_second";
    for (const [name, what] of Object.entries(qualities)) {
      const points = chosen.filter((cell) => isNumber(numbers(cell)[name]) && isNumber(numbers(cell)[speed]))
                         .map((cell) => ({
                                  x: numbers(cell)[name],
                                  y: numbers(cell)[speed],
                                  name: cell.name + (unreliable(numbers(cell)) ? " (unreliable timing)" : ""),
                                  unreliable: unreliable(numbers(cell))
                                }));
      if (!points.length) continue;
      const front = [];
      for (const point of points.filter((point) => !point.unreliable).sort((a, b) => b.x - a.x || b.y - a.y))
        if (!front.length || point.y > front[0].y) front.unshift(point);
      const others = points.filter((point) => !front.includes(point));
      return {
        height: 380,
        config: {
          type: "scatter",
          data: {
            datasets: [
              {
                label: "no other cell is both faster and better",
                type: "line",
                data: front,
                borderColor: colours.series[1],
                backgroundColor: colours.series[1],
                borderWidth: 1.5,
                pointRadius: 5,
                stepped: "after"
              },
              {label: "other cells", data: others, backgroundColor: colours.series[0], pointRadius: 5}
            ]
          },
          options: {
            scales: {x: axis(what), y: axis(speed === "speedup" ? "speed-up" : "tokens/s")},
            plugins: {legend: {...legend(true), labels: {color: colours.ink, usePointStyle: true}}, tooltip: named()}
          },
        },
      };
    }
    return "No ticked cell has both a speed and a quality.";
  };

  // ---- putting it together ----

  const redraw = () => {
    drawTable();
    if (window.Chart) drawCharts();
  };
  const colour = (forPaper) => {
    colours = !forPaper && dark.matches ? palettes.dark : palettes.light;
  };

  byId("study").textContent = report.study;
  byId("description").textContent = report.description || "";
  const complete = cells.filter((cell) => cell.state === "complete").length;
  byId("count").textContent =
      `${complete} of ${cells.length} cells are complete.` + (cells.length > tickedAtFirst ? ` The ${tickedAtFirst} best are ticked.` : "");
  byId("command").textContent = report.command ? `Made by: ${report.command}` : "";
  for (const [what, value] of Object.entries(report.machine)) {
    const row = element("tr", {parent: byId("machine")});
    element("th", {parent: row, text: what});
    element("td", {parent: row, text: value});
  }
  for (const note of report.notes) element("li", {parent: byId("notes"), text: note});
  for (const cell of cells)
    if (cell.reason) {
      byId("reasons").hidden = false;
      element("li", {parent: byId("reasons").querySelector("ul"), text: `${cell.name}: ${cell.reason}`});
    }
  drawFilters();
  drawExperts();
  colour(false);
  if (window.Chart) {
    const charts = byId("charts");
    addFigure(
        charts, "Speed-up", "With its 95% interval over prompts (what it covers stands in the notes); the dashed line is the baseline. Green: faster, red: slower, grey: no difference shown or unreliable timing, blue: not judged.",
        speedBars);
    addFigure(charts, "Time per phase", "Of the rounds, without the prompt.", phases);
    addFigure(charts, "Acceptance by position", "The share of rounds with a draft that accepted at least so many tokens.", acceptance);
    const pair = element("div", {parent: charts, className: "pair"});
    addFigure(pair, "Predicted against measured", "What acceptance and costs let expect of decoding, without the prefill on either axis. Below the dashed line: slower than predicted.", predicted);
    addFigure(pair, "Speed against quality", "Up is faster, right is better.", pareto);
    dark.addEventListener("change", () => {
      colour(false);
      drawCharts();
    });
    window.addEventListener("beforeprint", () => {
      colour(true);
      drawCharts();
    });
    window.addEventListener("afterprint", () => {
      colour(false);
      drawCharts();
    });
  } else {
    byId("no-charts").hidden = false;
  }
  redraw();
  document.body.dataset.ready = "true";
})();
