"""Prose in four languages, to be counted and to be streamed."""

ENGLISH = """\
The city council voted on Tuesday to rebuild the old harbour, which has stood empty since the last shipping company \
left in 1998. Engineers expect the work to take about four years. "We want people to live here again," the mayor \
said after the meeting, "and not only to look at the water on a Sunday afternoon." Critics of the plan say that the \
money would be better spent on schools and hospitals, and that the new apartments will be too expensive for most of \
the families who still live in the neighbourhood. A group of residents has asked the court to review the decision \
before any contract is signed. Scientists at the university have measured the temperature of the river for more than \
thirty years and warn that warmer summers will change which fish can survive there.
"""

INDONESIAN = """\
Pemerintah kota memutuskan pada hari Selasa untuk membangun kembali pelabuhan lama yang telah kosong sejak perusahaan \
pelayaran terakhir pergi pada tahun 1998. Para insinyur memperkirakan bahwa pekerjaan itu akan memakan waktu sekitar \
empat tahun. "Kami ingin orang-orang tinggal di sini lagi," kata wali kota setelah pertemuan itu, "dan bukan hanya \
melihat air pada hari Minggu sore." Para pengkritik rencana tersebut mengatakan bahwa uang itu lebih baik digunakan \
untuk sekolah dan rumah sakit, dan bahwa apartemen baru akan terlalu mahal bagi sebagian besar keluarga yang masih \
tinggal di lingkungan itu. Sekelompok warga telah meminta pengadilan untuk meninjau keputusan tersebut sebelum \
kontrak ditandatangani.
"""

THAI = """\
สภาเมืองลงมติเมื่อวันอังคารให้ก่อสร้างท่าเรือเก่าขึ้นใหม่ ซึ่งถูกทิ้งร้างมาตั้งแต่บริษัทเดินเรือแห่งสุดท้ายย้ายออกไปในปี 1998 \
วิศวกรคาดว่างานนี้จะใช้เวลาประมาณสี่ปี นายกเทศมนตรีกล่าวหลังการประชุมว่าเราต้องการให้ผู้คนกลับมาอาศัยอยู่ที่นี่อีกครั้ง \
ไม่ใช่เพียงมาดูแม่น้ำในบ่ายวันอาทิตย์ ผู้ที่ไม่เห็นด้วยกับแผนนี้กล่าวว่าเงินจำนวนนี้ควรนำไปใช้กับโรงเรียนและโรงพยาบาลมากกว่า \
และอพาร์ตเมนต์ใหม่จะมีราคาแพงเกินไปสำหรับครอบครัวส่วนใหญ่ที่ยังอาศัยอยู่ในย่านนั้น \
กลุ่มผู้อยู่อาศัยได้ขอให้ศาลทบทวนการตัดสินใจก่อนที่จะมีการลงนามในสัญญา
"""

VIETNAMESE = """\
Hội đồng thành phố đã bỏ phiếu hôm thứ Ba để xây dựng lại bến cảng cũ, nơi đã bị bỏ trống kể từ khi công ty vận tải \
biển cuối cùng rời đi vào năm 1998. Các kỹ sư dự kiến công việc sẽ mất khoảng bốn năm. "Chúng tôi muốn mọi người lại \
sống ở đây," thị trưởng nói sau cuộc họp, "chứ không chỉ ngắm nhìn dòng nước vào chiều Chủ nhật." Những người chỉ \
trích kế hoạch nói rằng số tiền đó nên được chi cho trường học và bệnh viện, và các căn hộ mới sẽ quá đắt đối với hầu \
hết các gia đình vẫn đang sống trong khu phố. Một nhóm cư dân đã yêu cầu tòa án xem xét lại quyết định trước khi ký \
bất kỳ hợp đồng nào.
"""
