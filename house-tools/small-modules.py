import sys; sys.argv=[sys.argv[0],'.']
import runpy, io, contextlib
with contextlib.redirect_stdout(io.StringIO()):
    g=runpy.run_path('cand.py')
mods,readers,lines,raw=g['mods'],g['readers'],g['lines'],g['raw']
from collections import defaultdict
f=defaultdict(list)
for n,m in mods.items():
    if m.path.startswith(('engine/','adapters/')): f[m.path.rsplit('/',1)[0]].append(n)
def short(x): return x.replace('engine.features.','F.').replace('engine.','').replace('adapters.','A.')
for d in sorted(f):
    small=[n for n in f[d] if lines[n]<=80 and not mods[n].path.endswith('__init__.py')]
    big=[n for n in f[d] if n not in small]
    if not small: continue
    print(f"## {d}: {len(f[d])}; big: "+' '.join(f"{n.rsplit('.',1)[-1]}={raw[n]}" for n in big))
    for n in small:
        r=sorted(readers[n])
        print(f"   {n.rsplit('.',1)[-1]} {lines[n]}/{raw[n]} <- {len(r)}: {' '.join(short(x) for x in r[:3])}")
