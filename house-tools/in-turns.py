import subprocess, json, os, statistics, sys
open('/proc/self/autogroup','w').write('-15')
PY='.venv/bin/python'
out={'base':{}, 'main':{}}
for i in range(int(sys.argv[1])):
    for t,d in (('base','BASE'),('main','.')) if i%2==0 else (('main','.'),('base','BASE')):
        r=subprocess.run([PY,'-m','engine','bench','--scenario','oru20','--connections','1,32','--rounds','1','--seconds','4','-o','json'],cwd=d,capture_output=True,text=True,timeout=120)
        try: data=json.loads(r.stdout)
        except Exception: print(t,r.returncode,r.stderr[-300:]); continue
        for c in data['cases']:
            k=str(c.get('case') or c.get('connections')); v=c['cpu_ms_per_msg']['median'] if isinstance(c['cpu_ms_per_msg'],dict) else c['cpu_ms_per_msg']
            out[t].setdefault(k,[]).append(v)
    print(i,{t:{k:v[-1] for k,v in o.items()} for t,o in out.items()},os.getloadavg()[0],flush=True)
for k in out['base']:
    b,m=out['base'][k],out['main'][k]
    r=[y/x for x,y in zip(b,m)]
    print(k,'base',statistics.median(b),'main',statistics.median(m),'ratio median',round(statistics.median(r),3),'range',round(min(r),3),round(max(r),3))
