"use strict";
/* The timeline of an entity or of an alert, drawn by the plotly script that ships with the plotly package. */
(() => {
  const { say } = weibowatch;
  const place = document.getElementById("chart");
  if (!place) return;
  const { bins, step, step_ms, marks = [], gaps = [] } = JSON.parse(document.getElementById("timeline").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const at = bins.map((bin) => bin.at.replace("Z", ""));
    const end = new Date(Date.parse(bins[bins.length - 1].at) + step_ms).toISOString().slice(0, 19);
    const width = step_ms * (bins.length > 60 ? 1 : 0.85);
    const top = Math.max(...bins.map((bin) => bin.mentions));
    const authors = bins.map((bin) => bin.authors);
    /* Numbers for dates: the script's names of months are English. */
    const day = "%Y-%m-%d";
    const ticks = [
      { dtickrange: [null, 86_400_000 - 1], value: "%H:%M\n%Y-%m-%d" },
      { dtickrange: [86_400_000, "M1"], value: day },
      { dtickrange: ["M1", null], value: "%Y-%m" },
    ];
    const line = { showgrid: true, gridcolor: colour("--line"), zeroline: false, linecolor: colour("--line"), tickcolor: colour("--line") };
    /* Of an alert: what was expected, between which counts chance would stay, when it changed, what was not seen. */
    const steps = (name) => { const line = bins.map((bin) => bin[name] ?? null); return [...line, line[line.length - 1]]; };
    const usual = (values, more) => ({ type: "scatter", mode: "lines", x: [...at, end], y: values, line: { color: colour("--good"), width: 0, shape: "hv" }, ...more });
    const expectation = bins.some((bin) => (bin.expected ?? null) !== null)
      ? [
          usual(steps("low"), { showlegend: false, hoverinfo: "skip" }),
          usual(steps("high"), { name: say("chart.interval"), fill: "tonexty", fillcolor: `${colour("--good")}2b`, hovertemplate: "≤ %{y}" }),
          usual(steps("expected"), { name: say("chart.expected"), line: { color: colour("--good"), width: 2, shape: "hv" }, hovertemplate: "%{y:.2f}" }),
        ]
      : [];
    /* Of an entity with an audit: what the counts come to, and between which ends. A bin alone may have too little. */
    const whole = bins.map((bin) => bin.corrected?.value ?? null);
    const corrected = whole.some((value) => value !== null)
      ? [
          { type: "scatter", mode: "markers", name: say("chart.corrected"), x: bins.map((bin) => new Date(Date.parse(bin.at) + step_ms / 2).toISOString().slice(0, 19)), y: whole, marker: { color: colour("--good"), size: 6 },
            error_y: { type: "data", symmetric: false, array: bins.map((bin, place) => (whole[place] === null ? null : bin.corrected.high - whole[place])), arrayminus: bins.map((bin, place) => (whole[place] === null ? null : whole[place] - bin.corrected.low)), color: colour("--good"), thickness: 1.2, width: bins.length > 60 ? 0 : 3 },
            customdata: bins.map((bin) => [bin.corrected?.low ?? null, bin.corrected?.high ?? null]), hovertemplate: "%{y:.1f} (%{customdata[0]:.1f}–%{customdata[1]:.1f})" },
        ]
      : [];
    const tones = { firing: "--warn", escalated: "--bad", resolved: "--good" };
    const shapes = [
      ...gaps.map((gap) => ({ type: "rect", yref: "paper", x0: gap.from.replace("Z", ""), x1: gap.until.replace("Z", ""), y0: 0, y1: 1, line: { width: 0 }, fillcolor: colour("--muted"), opacity: 0.16, layer: "below" })),
      ...marks.map((mark) => ({ type: "line", yref: "paper", x0: mark.at.replace("Z", ""), x1: mark.at.replace("Z", ""), y0: 0, y1: 1, line: { color: colour(tones[mark.state] || "--muted"), width: 1.5, dash: "dash" } })),
    ];
    Plotly.react(
      place,
      [
        ...expectation,
        { type: "bar", name: say("mentions"), x: at, y: bins.map((bin) => bin.mentions), offset: (step_ms - width) / 2, width, marker: { color: colour("--accent"), opacity: 0.75 } },
        { type: "scatter", mode: "lines", name: say("authors"), x: [...at, end], y: [...authors, authors[authors.length - 1]], line: { color: colour("--link"), width: 2, shape: "hv" } },
        ...corrected,
      ],
      {
        margin: { l: 44, r: 12, t: 8, b: 44 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, color: colour("--muted"), size: 12 },
        hovermode: "x unified",
        hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } },
        legend: { orientation: "h", x: 1, xanchor: "right", y: 1.02, yanchor: "bottom" },
        xaxis: { ...line, type: "date", showgrid: false, range: [at[0], end], nticks: Math.max(3, Math.floor(place.clientWidth / 110)), tickformatstops: ticks, hoverformat: step === "hour" ? `${day} %H:%M` : day },
        shapes,
        yaxis: { ...line, rangemode: "tozero", tickformat: ",d", ...(top <= 5 ? { dtick: 1 } : {}) },
      },
      { responsive: true, displayModeBar: false },
    );
  };
  draw();
  dark.addEventListener("change", draw);
})();
