"""The look of a rollout's page, for light and dark screens."""

STYLE = """
:root{--ink:#1c2430;--soft:#667085;--line:#e3e7ee;--paper:#fff;--back:#f4f6f9;--candidate:#3b6fd9;--stable:#c3ccd9;
--good:#1e8e5a;--bad:#c8372d;--wait:#b7791f}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#98a2b3;--line:#2c3542;--paper:#1a212b;--back:#11161d;
--candidate:#6f9bf5;--stable:#475467;--good:#4cc38a;--bad:#f0776d;--wait:#e0ac4d}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:980px;margin:0 auto;padding:28px 20px 40px}
.over{color:var(--soft);font-size:13px;letter-spacing:.02em}
h1{font-size:27px;margin:2px 0 14px;display:flex;gap:10px;align-items:baseline;flex-wrap:wrap}
h1 small{font-size:16px;font-weight:400;color:var(--soft)}
h1 .badge{margin-left:auto;font-size:14px;padding:3px 12px}
h2{font-size:15px;margin:0 0 12px;display:flex;align-items:baseline;gap:8px}
section,details{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:16px 20px;
margin:0 0 14px}
.decision{border-left:5px solid var(--candidate)}
.decision.good{border-left-color:var(--good)}.decision.bad{border-left-color:var(--bad)}
.decision.wait{border-left-color:var(--wait)}
.decision p{margin:2px 0;color:var(--soft)}.decision .lead{font-size:18px;color:var(--ink);margin-bottom:4px}
.quiet,.legend{color:var(--soft);font-size:13px;font-weight:400}
.legend{margin-left:auto}
.key{display:inline-block;width:10px;height:10px;border-radius:3px;margin:0 5px 0 12px}
.candidate{background:var(--candidate)}.stable{background:var(--stable)}
.badge{display:inline-block;border-radius:20px;padding:1px 10px;font-size:12.5px;font-weight:500;white-space:nowrap;
color:var(--candidate);background:color-mix(in srgb,var(--candidate) 14%,transparent)}
.badge.good{color:var(--good);background:color-mix(in srgb,var(--good) 14%,transparent)}
.badge.bad{color:var(--bad);background:color-mix(in srgb,var(--bad) 14%,transparent)}
.badge.wait{color:var(--wait);background:color-mix(in srgb,var(--wait) 16%,transparent)}
.share{display:grid;grid-template-columns:210px 1fr 70px;gap:12px;align-items:center;margin:7px 0}
.share div:first-child{display:flex;flex-direction:column;line-height:1.3}
.bar{display:flex;height:16px;border-radius:5px;overflow:hidden;background:var(--line)}
.bar i{display:block}.figure{text-align:right;font-weight:600}
svg{width:100%;height:auto;display:block;margin:6px 0}
svg text{font-size:11.5px;fill:var(--soft)}svg .title{font-size:12.5px;fill:var(--ink);font-weight:600}
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke:var(--candidate);stroke-width:2.2}
.area{fill:var(--candidate);opacity:.12}svg circle{fill:var(--candidate)}
line.limit{stroke:var(--bad);stroke-dasharray:5 4;stroke-width:1.4}svg text.limit{fill:var(--bad)}
line.mark{stroke:var(--soft);stroke-dasharray:2 3}svg text.mark{fill:var(--ink)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th{text-align:left;font-size:12.5px;font-weight:500;color:var(--soft);padding:0 12px 6px 0}
td{padding:9px 12px 9px 0;border-top:1px solid var(--line);vertical-align:middle;white-space:nowrap;font-size:14px}
td:last-child{padding-right:0;text-align:right}.sum td{background:color-mix(in srgb,var(--line) 25%,transparent)}
.meter{position:relative;height:8px;border-radius:4px;background:var(--line);min-width:150px;margin-bottom:4px}
.meter i{display:block;height:8px;border-radius:4px;background:var(--candidate)}
.meter u{position:absolute;top:-3px;height:14px;width:2px;background:var(--ink)}
i.good{background:var(--good)!important}i.bad{background:var(--bad)!important}i.wait{background:var(--wait)!important}
.checks{list-style:none;margin:0;padding:0}.checks li{display:grid;grid-template-columns:16px 250px 1fr;padding:5px 0;
align-items:baseline}
.dot{width:9px;height:9px;border-radius:50%;display:inline-block}.dot.good{background:var(--good)}
.dot.bad{background:var(--bad)}
ol{list-style:none;margin:0;padding:0}ol li{display:grid;grid-template-columns:84px 90px 1fr;padding:5px 0;
border-top:1px solid var(--line)}ol li:first-child{border-top:0}
time{color:var(--soft)}.verdict{color:var(--soft)}
.verdict.good{color:var(--good)}.verdict.bad{color:var(--bad)}.verdict.wait{color:var(--wait)}
summary{cursor:pointer;font-weight:600}details ul{color:var(--soft);padding-left:18px;margin:10px 0 0}
footer{color:var(--soft);font-size:13px;text-align:center;margin-top:18px}
@media (max-width:640px){.share{grid-template-columns:1fr 60px}.share div:first-child{grid-column:1/3}
.checks li{grid-template-columns:16px 1fr}.checks li span:last-child{grid-column:2}ol li{grid-template-columns:80px 1fr}
ol li span:last-child{grid-column:1/3}}
"""
