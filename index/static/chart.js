"use strict";
/* The timeline of an entity, drawn by the plotly script that ships with the plotly package. */
(() => {
  const { say } = weibowatch;
  const place = document.getElementById("chart");
  const { bins } = JSON.parse(document.getElementById("timeline").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const at = bins.map((bin) => bin.at.replace("Z", ""));
    const line = { showgrid: true, gridcolor: colour("--line"), zeroline: false, linecolor: colour("--line"), tickcolor: colour("--line") };
    Plotly.react(
      place,
      [
        { type: "bar", name: say("mentions"), x: at, y: bins.map((bin) => bin.mentions), marker: { color: colour("--accent"), opacity: 0.75 } },
        { type: "scatter", mode: "lines", name: say("authors"), x: at, y: bins.map((bin) => bin.authors), line: { color: colour("--link"), width: 2, shape: "hvh" } },
      ],
      {
        margin: { l: 44, r: 12, t: 8, b: 36 },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, color: colour("--muted"), size: 12 },
        hovermode: "x unified",
        hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } },
        bargap: bins.length > 60 ? 0 : 0.2,
        legend: { orientation: "h", x: 1, xanchor: "right", y: 1.12 },
        xaxis: { ...line, type: "date", showgrid: false },
        yaxis: { ...line, rangemode: "tozero", tickformat: ",d" },
      },
      { responsive: true, displayModeBar: false },
    );
  };
  draw();
  dark.addEventListener("change", draw);
})();
